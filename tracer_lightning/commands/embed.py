"""Features of images, arrays or texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from tracer_lightning.commands.runner import Runner, require_clip, require_file
from tracer_lightning.commands.unlabelled import build_unlabelled, build_unlabelled_arrays, image_outputs
from tracer_lightning.config.errors import setting
from tracer_lightning.config.finished_models import read_model
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.evaluation.outputs import image_features
from tracer_lightning.functional.wording import counted
from tracer_lightning.functional.zero_shot import prompt_features
from tracer_lightning.models import Backbone
from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.storage import atomic_file, read_text, split_lines, write_text

NUMPY, PARQUET = ".npy", ".parquet"


def embed(cfg: DictConfig) -> Path:
    """Compute the normalised features of images, arrays or texts, and write them.

    Returns:
        The file that was written. A ``.npy`` file holds features (N, D) in float32, with a table beside it that names
        their rows; a ``.parquet`` file has a column for the names and one for the features.
    """
    runner = Runner(cfg, "embed")
    out = require_file(cfg.out)
    if out.suffix == PARQUET:
        _import_pyarrow()
    backbone = read_model(cfg, cfg.checkpoint, "checkpoint", cfg.model)
    require_clip([backbone], "embed")
    kind, embed_all = _kind_of_inputs(cfg)
    names, features = embed_all(cfg, runner, backbone)
    if runner.trainer.is_global_zero:
        if out.suffix == PARQUET:
            _write_parquet(out, kind, names, features)
        else:
            with atomic_file(out) as path, path.open("wb") as file:
                np.save(file, features, allow_pickle=False)
            write_text(out.with_suffix(".csv"), csv_text([[kind], *([name] for name in names)]))
        print_rank_zero(f"{len(names):,} x {features.shape[1]} features: {out}")
    return out


def _kind_of_inputs(cfg: DictConfig) -> tuple[str, Callable[..., tuple[list[str], np.ndarray]]]:
    """What is embedded, and the function that embeds it."""
    if cfg.texts is not None:
        return "text", _embed_texts
    return ("sample", _embed_arrays) if cfg.embedder else ("image", _embed_images)


def _embed_images(cfg: DictConfig, runner: Runner, backbone: Backbone) -> tuple[list[str], np.ndarray]:
    data, source = build_unlabelled(cfg, backbone, None)
    print_rank_zero(counted(len(source), "image"))
    outputs = image_outputs(runner, backbone.model, data, ("features",), image_features)
    return [source.origin(index) for index in outputs["indices"].tolist()], outputs["features"]


def _embed_arrays(cfg: DictConfig, runner: Runner, backbone: Backbone) -> tuple[list[str], np.ndarray]:
    data = build_unlabelled_arrays(cfg, backbone)
    outputs = image_outputs(runner, backbone.model, data, ("features",), image_features)
    return [str(index) for index in outputs["indices"].tolist()], outputs["features"]


def _embed_texts(cfg: DictConfig, runner: Runner, backbone: Backbone) -> tuple[list[str], np.ndarray]:
    with setting("texts"):
        entry: Any = OmegaConf.to_container(cfg.texts) if OmegaConf.is_config(cfg.texts) else cfg.texts
        if isinstance(entry, str) and not Path(entry).is_file():
            raise ValueError(f"there is no file {entry}; give a list, or a file with one text a line")
        texts = split_lines(read_text(Path(entry))) if isinstance(entry, str) else [str(text) for text in entry]
        if not texts:
            raise ValueError("there is none; give a list, or a file with one text a line")
    device = runner.trainer.strategy.root_device
    model = backbone.model.to(device).eval()
    tokens = backbone.spec.tokenize(texts).to(device)
    with torch.no_grad(), runner.trainer.precision_plugin.test_step_context():
        features = prompt_features(model.encode_text, tokens[:, None])[:, 0]
    return texts, features.float().cpu().numpy()


def _write_parquet(out: Path, kind: str, names: list[str], features: np.ndarray) -> None:
    pyarrow = _import_pyarrow()
    from pyarrow import parquet

    column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(features.ravel()), features.shape[1])
    with atomic_file(out) as path:
        parquet.write_table(pyarrow.table({kind: names, "features": column}), path)


def _import_pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ValueError("out: parquet files need pyarrow (pip install pyarrow); or choose a .npy file") from error
    return pyarrow
