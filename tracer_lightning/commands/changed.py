"""Images that a run forgot and learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.table import Table

from tracer_lightning.commands.runner import Runner
from tracer_lightning.config.build import make
from tracer_lightning.config.errors import setting
from tracer_lightning.config.finished_models import read_model, read_start
from tracer_lightning.engine.console import console, print_rank_zero
from tracer_lightning.engine.samples import print_unreadable_samples, unreadable_samples
from tracer_lightning.evaluation.changes import COUNTS, ChangesModule, Prediction, SetChanges
from tracer_lightning.evaluation.logits import check_head
from tracer_lightning.evaluation.saliency import Maps
from tracer_lightning.models import Backbone
from tracer_lightning.reporting.changed import ShownSample, collect_samples, draw_changes
from tracer_lightning.reporting.style import save
from tracer_lightning.types import EvalSet

CHANGED = "changed"
"""Stem of the names of the files."""


def changed(cfg: DictConfig) -> dict[str, Any]:
    """Compare the predictions of a run with those of the weights that it started from, in one pass over the data.

    Returns:
        The content of changed.json: counts and images by data set, both models, versions, seconds.
    """
    runner = Runner(cfg, "changed")
    backbone = read_model(cfg, cfg.checkpoint, "checkpoint", cfg.model)
    origin, start = read_start(cfg, [cfg.checkpoint])
    data = runner.build_images(backbone, CHANGED)
    check_head(cfg.model, backbone.model, len(data.prompts()))
    maps: Maps | None = None if cfg.maps is None else make(cfg, "maps")
    if maps is not None:
        with setting("maps"):
            _check_maps(maps, backbone)
    module = ChangesModule(start.model, backbone.model, data.eval_sets, data.prompts(), cfg.images, data.own_prompts())
    print_rank_zero(f"comparing {cfg.model} of {cfg.checkpoint} with {origin}")
    runner.test(module, data)
    unreadable = unreadable_samples(data)
    labels = {eval_set.name: data.label_names(eval_set) for eval_set in data.eval_sets}
    sets = {
        eval_set.name: _to_plain(eval_set, module.changes[eval_set.name], labels[eval_set.name])
        for eval_set in data.eval_sets
    }

    def report(_: dict[str, Any]) -> None:
        panels = collect_samples(module.changes, data.eval_sets, backbone.spec, module.models, maps)
        _draw(runner.folder, data.eval_sets, module.changes, panels, labels)
        console.print(_table(f"{cfg.checkpoint}, {cfg.model}", sets))
        print_unreadable_samples(unreadable)

    results = {"sets": sets, "checkpoint": cfg.checkpoint, "model": cfg.model, "start": origin}
    return runner.finish(f"{CHANGED}.json", results, report, f"{CHANGED}.json and figures")


def _check_maps(maps: Maps, backbone: Backbone) -> None:
    """Raise ValueError, before the pass over the data, where the maps can't be computed for this tower."""
    model, size = backbone.model.eval(), backbone.spec.image_size
    maps(model.model.visual, model.encode_image, torch.zeros(1, 3, size, size), torch.zeros(1, dtype=torch.long))


def _to_plain(eval_set: EvalSet, changes: SetChanges, labels: Sequence[str]) -> dict[str, Any]:
    """Changes on a data set as JSON values."""

    def describe(prediction: Prediction) -> dict[str, Any]:
        return {
            "class": labels[prediction.label],
            "probability": prediction.probability,
            "probability_of_truth": prediction.truth,
        }

    counts, images = changes
    listed = {
        kind: [
            {
                "index": image.position,
                "class": labels[image.label],
                "before": describe(image.before),
                "after": describe(image.after),
            }
            for image in images_of_kind
        ]
        for kind, images_of_kind in images.items()
    }
    identity = {"split": eval_set.split, "role": eval_set.role, "n": sum(counts.values())}
    return {**identity, "counts": counts, "images": listed}


def _draw(
    folder: Path,
    sets: Sequence[EvalSet],
    changes: Mapping[str, SetChanges],
    panels: Mapping[str, Mapping[str, Sequence[ShownSample]]],
    labels: Mapping[str, Sequence[str]],
) -> None:
    """Write changed.png and, with maps, changed_maps.png; data sets without changes are left out."""
    drawn = [eval_set for eval_set in sets if any(panels[eval_set.name].values())]
    if not drawn:
        print_rank_zero("no image was forgotten or learned; none is drawn")
        return
    counts = {name: set_changes.counts for name, set_changes in changes.items()}
    images = [image for by_kind in panels.values() for images in by_kind.values() for image in images]
    has_maps = any(len(image.panels) > 1 for image in images)
    for name, with_maps in {CHANGED: False, f"{CHANGED}_maps": True}.items():
        if has_maps or not with_maps:
            save(draw_changes(drawn, counts, panels, labels, with_maps), folder / f"{name}.png")


def _table(title: str, sets: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, caption="images, right or wrong before → after")
    table.add_column("data set", no_wrap=True)
    for column in ("n", "right → right", "right → wrong", "wrong → right", "same mistake", "another mistake"):
        table.add_column(column, justify="right")
    for name, values in sets.items():
        table.add_row(name, *(f"{count:,}" for count in (values["n"], *(values["counts"][kind] for kind in COUNTS))))
    return table
