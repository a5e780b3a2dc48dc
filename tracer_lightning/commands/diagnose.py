"""Difficulty of data sets for a model, and its relation to what finished runs gained and forgot on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tracer_lightning.commands.runner import Runner
from tracer_lightning.config.errors import setting
from tracer_lightning.config.finished_models import load_models
from tracer_lightning.data import ClipDataModule
from tracer_lightning.engine.console import console, print_rank_zero
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
from tracer_lightning.storage import write_text

DIFFICULTY = "difficulty"
"""Stem of the names of the files."""
COLUMNS = ("model", "data_set", "split", "role", "n", *NUMBERS)
Correlations = dict[str, dict[str, Correlation]]
"""Correlations of one model, by ``gain`` or ``forgetting``, and measure of difficulty."""


def diagnose(cfg: DictConfig) -> dict[str, Any]:
    """Measure the difficulty of the data sets for each model, in one pass over the data.

    Returns:
        The content of difficulty.json: measures by model and data set, changes and correlations where runs are given,
        checkpoint, versions, seconds.
    """
    runner = Runner(cfg, "diagnose")
    run_changes = None if cfg.runs is None else read_changes([cfg.runs] if isinstance(cfg.runs, str) else cfg.runs)
    backbones = load_models(cfg)
    data = runner.build_images(next(iter(backbones.values())), "diagnose")
    names = [eval_set.name for eval_set in data.eval_sets]
    _check_common_sets(run_changes, names)
    models = {name: backbone.model for name, backbone in backbones.items()}
    module = FeatureModule(models, names, data.prompts(), data.own_prompts())
    print_rank_zero(f"measuring {cfg.checkpoint or cfg.backbone.get('name', 'backbone')}: {', '.join(backbones)}")
    runner.test(module, data)
    measured = {name: measure(module, name, data, cfg.seed) for name in backbones}
    runner.check_counts(next(iter(measured.values())), data)
    related = {} if run_changes is None else {name: correlations(sets, run_changes) for name, sets in measured.items()}

    def report(_: dict[str, Any]) -> None:
        _write_csv(runner.folder, measured)
        for name, sets in measured.items():
            console.print(difficulty_table(f"{cfg.checkpoint or 'zero-shot'}, {name}", sets))
            if run_changes is not None:
                _relate(runner.folder, name, sets, run_changes, related[name])

    results = {**measured, **_to_plain(run_changes, related), "checkpoint": cfg.checkpoint}
    contents = f"{DIFFICULTY}.json, {DIFFICULTY}.csv{' and figures' if run_changes else ''}"
    return runner.finish(f"{DIFFICULTY}.json", results, report, contents)


def read_changes(patterns: Sequence[str]) -> list[AccuracyChange]:
    """Gain and forgetting of the runs at and below folders or patterns; ValueError where there are no runs."""
    try:
        runs, unread = find_runs(patterns)
    except ValueError as error:
        raise ValueError(f"runs: {error}") from error
    groups, repeated = group_runs(runs)
    for warning in (*unread, *repeated):
        print_rank_zero(f"warning: {warning}")
    return changes(groups)


def _check_common_sets(run_changes: Sequence[AccuracyChange] | None, names: Sequence[str]) -> None:
    if run_changes is not None and not {change.data_set for change in run_changes} & set(names):
        tested = ", ".join(dict.fromkeys(change.data_set for change in run_changes))
        raise ValueError(f"runs: tested on {tested or 'nothing'}, and this is {', '.join(names)}; choose their data=")


def measure(module: FeatureModule, model: str, data: ClipDataModule, seed: int) -> dict[str, dict[str, Any]]:
    """Split, role and difficulty of each data set.

    Args:
        module: module that was tested on the data.
        model: name of one of its models.
        data: data module whose ``eval_sets`` the module was tested on.
        seed: seed of the sample from which silhouettes are computed.
    """
    measured = {}
    for eval_set in data.eval_sets:
        with setting(f"suite.{eval_set.name}"):
            texts = module.own_texts[model].get(eval_set.name, module.texts[model])
            features = labelled(*module.images[model][eval_set.name], texts, eval_set.classes)
        measured[eval_set.name] = {"split": eval_set.split, "role": eval_set.role, **difficulty(features, seed)}
    return measured


def _to_plain(run_changes: Sequence[AccuracyChange] | None, related: Mapping[str, Correlations]) -> dict[str, Any]:
    """Changes and correlations as JSON values; null without runs."""
    if run_changes is None:
        return {"changes": None, "correlations": None}
    plain = {
        model: {
            quantity: {number: correlation._asdict() for number, correlation in by_number.items()}
            for quantity, by_number in by_quantity.items()
        }
        for model, by_quantity in related.items()
    }
    return {"changes": [change._asdict() for change in run_changes], "correlations": plain}


def _write_csv(folder: Path, measured: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    rows = (
        [model, name, *map(values.get, COLUMNS[2:])]
        for model, sets in measured.items()
        for name, values in sets.items()
    )
    write_text(folder / f"{DIFFICULTY}.csv", csv_text([COLUMNS, *rows]))


def _relate(
    folder: Path, model: str, sets: Measured, run_changes: Sequence[AccuracyChange], related: Correlations
) -> None:
    """Print and draw how the difficulty for one model is related to gain and forgetting."""
    if others := other_starts(sets, run_changes):
        first, count = others[0], len({change.runs for change in others})
        print_rank_zero(
            f"warning: {count} groups of runs, such as {first.runs}, did not begin with this {model}: their accuracy "
            f"on {first.data_set} was {100 * first.before:.1f}, and here it is "
            f"{100 * sets[first.data_set]['accuracy']:.1f}"
        )
    groups = f"{len({change.runs for change in run_changes})} groups of runs"
    console.print(correlation_table(f"{model}: its numbers and the gain and forgetting of {groups}", related))
    with style():
        for quantity, by_number in related.items():
            n_sets = max(correlation.sets for correlation in by_number.values())
            if n_sets > 1:  # points of a single data set have nothing to be drawn against
                figure = scatter(sets, run_changes, quantity, by_number, f"{groups} on {n_sets} data sets")
                for suffix in ("png", "svg"):
                    save(figure, folder / f"{quantity}-{model}.{suffix}")
