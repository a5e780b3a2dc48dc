"""Inspection of a run's images before anything is trained."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
import numpy as np
from omegaconf import DictConfig, open_dict
from rich.box import SIMPLE
from rich.table import Table

from tracer_lightning.config.automatic import choose_automatic
from tracer_lightning.config.backbones import bare_backbone, prepare_backbone
from tracer_lightning.config.build import add_head, build_module, build_trainer, build_training_data
from tracer_lightning.config.check_built import check_built
from tracer_lightning.config.validate import validate
from tracer_lightning.data import ClipDataModule
from tracer_lightning.data.images.inspection import Duplicate, SetInspection, inspect_source, shared_images
from tracer_lightning.engine.console import console, print_rank_zero, quieten
from tracer_lightning.functional.wording import counted
from tracer_lightning.models import Backbone
from tracer_lightning.reporting.escaping import printable
from tracer_lightning.types import EvalSet

STEPS = 6
"""Greatest number of training steps that are timed, of which the first is left out."""
LONGEST_TIMING = 20.0
"""Seconds after which no further step is timed, where there are two."""
NAMED = 3
"""Greatest number of images or classes that a line names."""
FEW = 5
"""Number of training images below which a class is named."""
TRAINING = "train"


def check(cfg: DictConfig) -> dict[str, SetInspection]:
    """Read every image of the run that ``cfg`` describes, time a few steps, and report what was found.

    The model has random weights: neither pretrained weights nor a prerequisite are needed.

    Returns:
        What was found in each set, by name.

    Raises:
        ValueError: the configuration is invalid, or its data are not images with random access.
    """
    quieten()
    validate(cfg, "train")
    if cfg.embedder:
        raise ValueError("embedder: check is for images, and not for other modalities; choose embedder=pixels")
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    backbone = prepare_backbone(cfg, bare_backbone(cfg, weights_follow=True))
    choose_automatic(cfg, backbone)
    data = build_training_data(cfg, backbone)
    if not isinstance(data, ClipDataModule):
        raise ValueError(f"data must be images for check, found a {type(data).__name__}")
    data.prepare_data()
    data.setup("fit")
    sets: dict[str, EvalSet | None] = {TRAINING: None}
    if data.val_set not in data.eval_sets:
        sets[f"{data.val_set.name}, {data.val_set.split}"] = data.val_set
    sets |= {eval_set.name: eval_set for eval_set in data.eval_sets}
    inspections = {name: inspect_source(data.source(eval_set), name) for name, eval_set in sets.items()}
    console.print(_table(inspections, sets))
    for line in _remarks(inspections, data):
        print_rank_zero(printable(line))
    check_built(cfg, data)
    seconds = _seconds_per_step(cfg, backbone, data)
    steps = len(data.train_loader())
    print_rank_zero(
        f"an epoch has {counted(steps, 'step')} of {counted(data.batch_size, 'image')}: "
        f"{_duration(steps * seconds)} ({1000 * seconds:,.0f} ms a step, measured on this machine), without validation"
    )
    return inspections


def _table(inspections: Mapping[str, SetInspection], sets: Mapping[str, EvalSet | None]) -> Table:
    table = Table("set", "role", box=SIMPLE, pad_edge=False)
    for column in ("images", "classes", "per class", "pixels", "bad", "repeated"):
        table.add_column(column, justify="right")
    for name, inspection in inspections.items():
        eval_set = sets[name]
        counts = sorted(inspection.class_counts.values())
        table.add_row(
            printable(name),
            "" if eval_set is None else eval_set.role,
            f"{inspection.images:,}",
            f"{len(counts):,}",
            _range(counts[0], counts[-1]) if counts else "–",
            "–" if inspection.sides is None else " x ".join(_range(side[0], side[-1]) for side in inspection.sides),
            f"{len(inspection.unreadable):,}",
            f"{len(inspection.repeated):,}",
        )
    return table


def _range(smallest: int, largest: int) -> str:
    return f"{smallest:,}" if smallest == largest else f"{smallest:,}–{largest:,}"


def _remarks(inspections: Mapping[str, SetInspection], data: ClipDataModule) -> list[str]:
    """One line for each thing to know."""
    train, lines = inspections[TRAINING], []
    for name, inspection in inspections.items():
        if inspection.unreadable:
            lines.append(_some(f"{name}: images that can't be read", inspection.unreadable))
        if inspection.repeated:
            lines.append(_pairs(f"{name}: images that occur earlier in the set", inspection.repeated))
    for (earlier, first), (name, second) in itertools.combinations(inspections.items(), 2):
        if shared := shared_images(first, second):
            where = "training images" if earlier == TRAINING else f"in {earlier}"
            lines.append(_pairs(f"{name}: images that are {where}, too", shared))
    classes = range(len(data.classnames)) if data.labelled else ()
    few = [label for label in classes if train.class_counts.get(label, 0) < FEW]
    if few:
        names = [f"{data.classnames[label]} ({train.class_counts.get(label, 0)})" for label in few]
        lines.append(_some(f"classes with fewer than {FEW} training images", names))
    if train.sides is not None and train.sides[:, 1].max() < data.spec.image_size:
        lines.append(
            f"most training images have sides below the {data.spec.image_size} pixels of the model, and are enlarged"
        )
    if data.labelled:
        shares = np.array(list(train.class_counts.values())) / train.images
        repeats = (data.batch_size - 1) * (shares**2).sum()
        lines.append(f"in a batch of {data.batch_size}, an image meets on average {repeats:.1f} others of its class")
    return lines


def _some(text: str, items: Sequence[str]) -> str:
    more = f" and {len(items) - NAMED:,} more" if len(items) > NAMED else ""
    return f"{text}: {len(items):,} ({', '.join(items[:NAMED])}{more})"


def _pairs(text: str, pairs: Sequence[Duplicate]) -> str:
    return _some(text, [f"{second} (as {first})" for first, second in pairs])


class _StepTimes(pl.Callback):
    """Times at which steps end; training ends early where they are long."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.times.append(time.perf_counter())
        trainer.should_stop = len(self.times) >= 2 and self.times[-1] - self._start > LONGEST_TIMING


def _seconds_per_step(cfg: DictConfig, backbone: Backbone, data: ClipDataModule) -> float:
    """Median time of a training step with its data, of a model with random weights."""
    timed = deepcopy(cfg)
    with open_dict(timed):
        timed.callbacks, timed.logger = {}, {}
        timed.trainer.update(
            max_steps=STEPS, max_epochs=-1, limit_val_batches=0, enable_checkpointing=False, enable_progress_bar=False
        )
    clock = _StepTimes()
    trainer = build_trainer(timed, [clock])
    add_head(cfg, backbone.model, data, trainer)
    trainer.fit(build_module(cfg, backbone, data), datamodule=data)
    pauses = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
    return statistics.median(pauses) if pauses else float("nan")


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "less than 1 s"
    if seconds < 120:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"
