"""How hard data sets are for a model, and what finished runs gained and forgot on them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tracer_lightning.commands.evaluate import load_models
from tracer_lightning.config.build import build_data, build_evaluator
from tracer_lightning.config.errors import setting
from tracer_lightning.config.validate import check_diagnosis
from tracer_lightning.data import ClipDataModule
from tracer_lightning.engine.console import console, print_rank_zero, quieten
from tracer_lightning.engine.run import check_counts
from tracer_lightning.engine.run_folder import write_json
from tracer_lightning.evaluation.difficulty import difficulty, labelled
from tracer_lightning.evaluation.features import FeatureModule
from tracer_lightning.reporting.difficulty_report import correlation_table, difficulty_table, scatter
from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.reporting.forgetting import (
    NUMBERS,
    AccuracyChange,
    Correlation,
    Measured,
    changes,
    correlations,
    other_starts,
)
from tracer_lightning.reporting.runs import find_runs, group_runs
from tracer_lightning.reporting.style import save, style
from tracer_lightning.reporting.versions import versions
from tracer_lightning.storage import write_text

DIFFICULTY = "difficulty"
"""Name of the files, before their suffix."""
COLUMNS = ("model", "data_set", "split", "role", "n", *NUMBERS)
Related = dict[str, dict[str, dict[str, Correlation]]]
"""Correlations by model, ``gain`` or ``forgetting``, and number."""


def diagnose(cfg: DictConfig) -> dict[str, Any]:
    """Measure what ``cfg`` describes, in one pass over the data.

    Returns:
        What difficulty.json holds: numbers by model and data set, changes and correlations where there are runs,
        checkpoint, versions, seconds.
    """
    quieten()
    check_diagnosis(cfg)
    start, output = time.perf_counter(), Path(cfg.paths.output_dir)
    found = None if cfg.runs is None else changes_of([cfg.runs] if isinstance(cfg.runs, str) else cfg.runs)
    backbones = load_models(cfg)
    data = build_data(cfg, next(iter(backbones.values())))
    data.trains = False
    names = [eval_set.name for eval_set in data.eval_sets]
    _check_sets(found, names)
    module = FeatureModule({name: backbone.model for name, backbone in backbones.items()}, names, data.prompts())
    trainer = build_evaluator(cfg)
    print_rank_zero(f"measuring {cfg.checkpoint or cfg.backbone.get('name', 'backbone')}: {', '.join(backbones)}")
    trainer.test(module, datamodule=data, verbose=False)
    measured = {name: measure(module, name, data, cfg.seed) for name in backbones}
    if trainer.limit_test_batches == 1.0:
        check_counts(next(iter(measured.values())), data)
    related = None if found is None else {name: correlations(sets, found) for name, sets in measured.items()}
    seconds = round(time.perf_counter() - start, 1)
    about = {"checkpoint": cfg.checkpoint, "versions": versions(), "seconds": seconds}
    results = {**measured, **_plain(found, related), **about}
    if trainer.is_global_zero:
        _write(output, results, measured)
        for name, sets in measured.items():
            console.print(difficulty_table(f"{cfg.checkpoint or 'zero-shot'}, {name}", sets))
            if found is not None and related is not None:
                _compare(output, name, sets, found, related)
        print_rank_zero(
            f"{seconds} s; {DIFFICULTY}.json, {DIFFICULTY}.csv{' and pictures' if found else ''} are in {output}"
        )
    return results


def changes_of(patterns: Sequence[str]) -> list[AccuracyChange]:
    """What runs at and below folders or patterns gained and forgot; ValueError where there are none."""
    try:
        runs, unread = find_runs(patterns)
    except ValueError as error:
        raise ValueError(f"runs: {error}") from error
    groups, repeated = group_runs(runs)
    for warning in (*unread, *repeated):
        print_rank_zero(f"warning: {warning}")
    return changes(groups)


def _check_sets(found: Sequence[AccuracyChange] | None, names: Sequence[str]) -> None:
    if found is not None and not {change.data_set for change in found} & set(names):
        theirs = ", ".join(dict.fromkeys(change.data_set for change in found))
        raise ValueError(f"runs: tested on {theirs or 'nothing'}, and this is {', '.join(names)}; choose their data=")


def measure(module: FeatureModule, model: str, data: ClipDataModule, seed: int) -> dict[str, dict[str, Any]]:
    """Data set to its split, role and numbers.

    Args:
        module: tested on the data.
        model: one of its models.
        data: whose ``eval_sets`` it was tested on.
        seed: of the sample that silhouettes are taken of.
    """
    measured = {}
    for eval_set in data.eval_sets:
        with setting(f"suite.{eval_set.name}"):
            of = labelled(*module.images[model][eval_set.name], module.texts[model], eval_set.classes)
        measured[eval_set.name] = {"split": eval_set.split, "role": eval_set.role, **difficulty(of, seed)}
    return measured


def _plain(found: Sequence[AccuracyChange] | None, related: Related | None) -> dict[str, Any]:
    """Changes and correlations as JSON has them; null where there are no runs."""
    if found is None or related is None:
        return {"changes": None, "correlations": None}
    plain = {
        model: {
            quantity: {number: one._asdict() for number, one in numbers.items()}
            for quantity, numbers in quantities.items()
        }
        for model, quantities in related.items()
    }
    return {"changes": [change._asdict() for change in found], "correlations": plain}


def _write(output: Path, results: dict[str, Any], measured: dict[str, dict[str, dict[str, Any]]]) -> None:
    write_json(output / f"{DIFFICULTY}.json", results)
    rows = (
        [model, name, *map(values.get, COLUMNS[2:])]
        for model, sets in measured.items()
        for name, values in sets.items()
    )
    write_text(output / f"{DIFFICULTY}.csv", csv_text([COLUMNS, *rows]))


def _compare(output: Path, model: str, sets: Measured, found: Sequence[AccuracyChange], related: Related) -> None:
    """Print and draw what the numbers of one model have to do with gain and forgetting."""
    if others := other_starts(sets, found):
        first, count = others[0], len({change.runs for change in others})
        print_rank_zero(
            f"warning: {count} groups of runs, such as {first.runs}, did not begin with this {model}: their accuracy "
            f"on {first.data_set} was {100 * first.before:.1f}, and here it is "
            f"{100 * sets[first.data_set]['accuracy']:.1f}"
        )
    groups = f"{len({change.runs for change in found})} groups of runs"
    console.print(correlation_table(f"{model}: its numbers and the gain and forgetting of {groups}", related[model]))
    with style():
        for quantity, results in related[model].items():
            spread = max(result.sets for result in results.values())
            if spread > 1:  # points of one data set have nothing to be drawn against
                figure = scatter(sets, found, quantity, results, f"{groups} on {spread} data sets")
                for suffix in ("png", "svg"):
                    save(figure, output / f"{quantity}-{model}.{suffix}")
