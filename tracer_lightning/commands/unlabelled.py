"""Outputs of a finished model for images or arrays without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from torch import Tensor, nn

from tracer_lightning.commands.runner import Runner
from tracer_lightning.config.build import build_data
from tracer_lightning.config.errors import setting
from tracer_lightning.data.arrays.datamodule import StandardizedDataModule
from tracer_lightning.data.arrays.unlabelled import UnlabelledArrayDataModule, read_samples
from tracer_lightning.data.images.unlabelled import FileSource, UnlabelledDataModule
from tracer_lightning.data.shards.source import IndexedSource
from tracer_lightning.data.shards.unlabelled import open_images
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.samples import unreadable_samples
from tracer_lightning.evaluation.outputs import INDICES, OutputModule, Outputs
from tracer_lightning.functional.wording import counted
from tracer_lightning.models import Backbone
from tracer_lightning.types import ClassTexts

NAMED = 10
"""Greatest number of unreadable images that are named."""


def build_unlabelled(
    cfg: DictConfig, backbone: Backbone, texts: ClassTexts | None
) -> tuple[UnlabelledDataModule, FileSource | IndexedSource]:
    """The images that ``images`` names, and their data module for the backbone's inputs."""
    with setting("images"):
        source = open_images(cfg.images, Path(cfg.paths.cache).expanduser() / "indices")
    data = UnlabelledDataModule(
        backbone.spec,
        source,
        texts,
        eval_decoder=cfg.eval_decoder,
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        seed=cfg.seed,
    )
    return data, source


def build_unlabelled_arrays(cfg: DictConfig, backbone: Backbone) -> UnlabelledArrayDataModule:
    """The data module of the arrays that ``images`` names, standardized by the data that the model was trained on."""
    trained_on = build_data(cfg, backbone)
    if not isinstance(trained_on, StandardizedDataModule):
        raise ValueError(f"data: a {type(trained_on).__name__} has no arrays; name those that the run was trained on")
    with setting("images"):
        samples = read_samples(Path(cfg.images), trained_on.sample_shape)
    print_rank_zero(counted(len(samples), "sample"))
    loading = {"batch_size": cfg.batch_size, "num_workers": cfg.num_workers, "seed": cfg.seed}
    return UnlabelledArrayDataModule(backbone.spec, samples, trained_on, **loading)


def image_outputs(
    runner: Runner,
    model: nn.Module,
    data: UnlabelledDataModule | UnlabelledArrayDataModule,
    names: Sequence[str],
    start: Callable[[Any], Callable[[Tensor], Outputs]],
) -> dict[str, np.ndarray]:
    """Outputs of the readable samples, as :class:`OutputModule` collects them; the others are named.

    Raises:
        ValueError: none is readable.
    """
    module = OutputModule(model, names, start)
    runner.test(module, data)
    unreadable = unreadable_samples(data)
    for location in unreadable[:NAMED]:
        print_rank_zero(f"can't be read: {location}")
    if len(unreadable) > NAMED:
        print_rank_zero(f"can't be read: {len(unreadable) - NAMED:,} more images")
    if not len(module.outputs[INDICES]):
        raise ValueError("images: none of them can be read")
    return module.outputs
