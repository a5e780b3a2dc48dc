"""Classification of images without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tracer_lightning.commands.evaluate import EVALUATION
from tracer_lightning.commands.runner import Runner, require_clip, require_file, require_images
from tracer_lightning.commands.unlabelled import build_unlabelled, image_outputs
from tracer_lightning.config.class_texts import class_texts
from tracer_lightning.config.finished_models import read_model
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.evaluation.logits import check_head
from tracer_lightning.evaluation.outputs import top_classes
from tracer_lightning.functional.wording import counted
from tracer_lightning.models.value_heads import PixelHead, ValueHead
from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.reporting.files import read_json
from tracer_lightning.storage import write_text

ZERO_SHOT = "zero_shot"


def predict(cfg: DictConfig) -> Path:
    """Classify images, and write the most probable classes of each.

    Returns:
        The table that was written: one row per image, empty for those that can't be read.
    """
    runner = Runner(cfg, "predict")
    require_images(cfg, "predict")
    out = require_file(cfg.out)
    temperature = fitted_temperature(cfg.temperature, cfg.model)
    backbone = read_model(cfg, cfg.checkpoint, "checkpoint", cfg.model)
    require_clip([backbone], "predict")
    if cfg.heads != ZERO_SHOT and isinstance(backbone.model.head, ValueHead | PixelHead):
        raise ValueError(
            f"checkpoint={cfg.checkpoint}: the model's head predicts values and not classes; evaluate it, or classify "
            f"with heads={ZERO_SHOT}"
        )
    texts = class_texts(cfg)
    data, source = build_unlabelled(cfg, backbone, texts)
    if cfg.heads != ZERO_SHOT:
        check_head(cfg.checkpoint, backbone.model, len(texts.classnames), ", or classify with heads=zero_shot")
    count = min(cfg.top, len(texts.classnames))
    print_rank_zero(f"{counted(len(source), 'image')}, {counted(len(texts.classnames), 'class', 'classes')}")
    start = top_classes(data.prompts(), cfg.heads == ZERO_SHOT, count, temperature)
    outputs = image_outputs(runner, backbone.model, data, ("probabilities", "classes"), start)
    if runner.trainer.is_global_zero:
        rows: list[list[Any]] = [[source.origin(index), *[""] * (2 * count)] for index in range(len(source))]
        columns = (outputs[name].tolist() for name in ("indices", "probabilities", "classes"))
        for index, probabilities, classes in zip(*columns, strict=True):
            pairs = zip(classes, probabilities, strict=True)
            rows[index][1:] = [value for label, share in pairs for value in (texts.classnames[label], round(share, 6))]
        header = [f"{name}_{place}" for place in range(1, count + 1) for name in ("class", "probability")]
        write_text(out, csv_text([["image", *header], *rows]))
        print_rank_zero(f"predictions: {out}")
    return out


def fitted_temperature(temperature: float | str, model: str) -> float:
    """The temperature that logits are divided by.

    Args:
        temperature: a number, or the folder of an evaluation that has fitted temperatures.
        model: the model whose temperature is meant, ``student`` or ``teacher``.

    Raises:
        ValueError: it is not positive, or the evaluation has none of this model.
    """
    if isinstance(temperature, str):
        file = Path(temperature) / EVALUATION
        if not file.is_file():
            raise ValueError(f"temperature={temperature}: neither a number nor a folder with {EVALUATION}")
        content = read_json(file)
        fitted = content.get("temperature")
        entry = fitted.get(model, fitted.get("model")) if isinstance(fitted, dict) else None
        value = entry.get("temperature") if isinstance(entry, dict) else None
        if not isinstance(value, float):
            raise ValueError(f"temperature={temperature}: {file} has no temperature of the {model}; evaluate it anew")
        print_rank_zero(f"temperature {value:.3g}, fitted for the {model} of {content.get('checkpoint')}")
        temperature = value
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be > 0 and finite, found {temperature}")
    return float(temperature)
