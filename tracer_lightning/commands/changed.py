"""Pictures that a run forgot and learned."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.table import Table

from tracer_lightning.commands.load_finished import read_model, read_start
from tracer_lightning.config.build import build_data, build_evaluator, make
from tracer_lightning.config.errors import setting
from tracer_lightning.config.validate import check_changed
from tracer_lightning.engine.console import console, print_rank_zero, quieten
from tracer_lightning.engine.run import unreadable_anywhere
from tracer_lightning.engine.run_folder import write_json
from tracer_lightning.evaluation.changes import COUNTS, ChangesModule, Prediction, SetChanges
from tracer_lightning.evaluation.logits import check_head
from tracer_lightning.evaluation.saliency import Maps
from tracer_lightning.models import Backbone
from tracer_lightning.reporting.changed import ShownSample, collect_samples, draw_changes
from tracer_lightning.reporting.style import save
from tracer_lightning.reporting.versions import versions
from tracer_lightning.types import EvalSet

CHANGED = "changed"
"""Name of the files, before their suffix."""


def changed(cfg: DictConfig) -> dict[str, Any]:
    """Compare a run with what it started from, in one pass over the data.

    Returns:
        What changed.json holds: counts and pictures by data set, both models, versions, seconds.
    """
    quieten()
    check_changed(cfg)
    begun, output = time.perf_counter(), Path(cfg.paths.output_dir)
    backbone = read_model(cfg, cfg.checkpoint, "checkpoint", cfg.model)
    origin, start = read_start(cfg, [cfg.checkpoint])
    data = build_data(cfg, backbone)
    data.trains = False
    check_head(cfg.model, backbone.model, len(data.prompts()))
    maps: Maps | None = None if cfg.maps is None else make(cfg, "maps")
    if maps is not None:
        with setting("maps"):  # before the pass over the data
            _try(maps, backbone)
    module = ChangesModule(start.model, backbone.model, data.eval_sets, data.prompts(), cfg.pictures)
    trainer = build_evaluator(cfg)
    print_rank_zero(f"comparing {cfg.model} of {cfg.checkpoint} with {origin}")
    trainer.test(module, datamodule=data, verbose=False)
    lost = unreadable_anywhere(data)
    names = {eval_set.name: data.label_names(eval_set) for eval_set in data.eval_sets}
    sets = {eval_set.name: _plain(eval_set, module.changes, names) for eval_set in data.eval_sets}
    about = {"checkpoint": cfg.checkpoint, "model": cfg.model, "start": origin, "versions": versions()}
    results = {"sets": sets, **about, "seconds": round(time.perf_counter() - begun, 1)}
    if trainer.is_global_zero:
        write_json(output / f"{CHANGED}.json", results)
        shown = collect_samples(module.changes, data.eval_sets, backbone.spec, module.models, maps)
        _draw(output, data.eval_sets, module.changes, shown, names)
        console.print(_table(f"{cfg.checkpoint}, {cfg.model}", sets))
        if lost:
            print_rank_zero(f"could not be read: {len(lost)} of the pictures, among them {lost[0]}")
        print_rank_zero(f"{results['seconds']} s; {CHANGED}.json and pictures are in {output}")
    return results


def _try(maps: Maps, backbone: Backbone) -> None:
    """Raise ValueError where the maps are not for this tower."""
    model, size = backbone.model.eval(), backbone.spec.image_size
    maps(model.model.visual, model.encode_image, torch.zeros(1, 3, size, size), torch.zeros(1, dtype=torch.long))


def _plain(eval_set: EvalSet, changes: Mapping[str, SetChanges], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What changed.json says of a data set."""
    counts, pictures = changes[eval_set.name]
    labels = names[eval_set.name]

    def judged(one: Prediction) -> dict[str, Any]:
        return {"class": labels[one.label], "probability": one.probability, "probability_of_truth": one.truth}

    listed = {
        kind: [
            {"index": of.position, "class": labels[of.label], "before": judged(of.before), "after": judged(of.after)}
            for of in found
        ]
        for kind, found in pictures.items()
    }
    about = {"split": eval_set.split, "role": eval_set.role, "n": sum(counts.values())}
    return {**about, "counts": counts, "pictures": listed}


def _draw(
    output: Path,
    sets: Sequence[EvalSet],
    changes: Mapping[str, SetChanges],
    shown: Mapping[str, Mapping[str, Sequence[ShownSample]]],
    names: Mapping[str, Sequence[str]],
) -> None:
    """Write changed.png and, where there are maps, changed_maps.png; data sets where nothing changed are left out."""
    drawn = [eval_set for eval_set in sets if any(shown[eval_set.name].values())]
    if not drawn:
        print_rank_zero("no picture was forgotten or learned; none is drawn")
        return
    counts = {name: found.counts for name, found in changes.items()}
    mapped = any(len(one.panels) > 1 for of in shown.values() for found in of.values() for one in found)
    for name, maps in {CHANGED: False, f"{CHANGED}_maps": True}.items():
        if mapped or not maps:
            save(draw_changes(drawn, counts, shown, names, maps), output / f"{name}.png")


def _table(title: str, sets: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, caption="pictures, right or wrong before → after")
    table.add_column("data set", no_wrap=True)
    for column in ("n", "right → right", "right → wrong", "wrong → right", "same mistake", "another mistake"):
        table.add_column(column, justify="right")
    for name, values in sets.items():
        table.add_row(name, *(f"{count:,}" for count in (values["n"], *(values["counts"][one] for one in COUNTS))))
    return table
