"""Evaluation of finished models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tracer_lightning.commands.runner import Runner
from tracer_lightning.config.build import build_suite
from tracer_lightning.config.check_built import check_validation_split
from tracer_lightning.config.finished_models import load_models
from tracer_lightning.data import DataModule
from tracer_lightning.engine.console import console, print_rank_zero
from tracer_lightning.engine.precision import precision_name
from tracer_lightning.engine.run_folder import DETAILS, write_json
from tracer_lightning.engine.samples import print_unscored_sets, print_validation_split
from tracer_lightning.evaluation import EvaluationModule, Suite, results_tables
from tracer_lightning.evaluation.tables import classes_table, temperature_table
from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.reporting.reliability import reliability_figure
from tracer_lightning.reporting.style import save, style
from tracer_lightning.scores import Details
from tracer_lightning.storage import write_text
from tracer_lightning.types import EvalSet

EVALUATION = "evaluation.json"
VALIDATION = "val"
"""Value of ``temperature`` that selects the in-distribution split watched during training."""
CLASSES, BINS = "classes", "bins"
"""Details of classification: counts of each class, and of each bin of confidence."""
DetailsByModel = Mapping[str, Mapping[str, Details]]
"""Details of scores, by model and data set."""


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Evaluate finished models, in one pass over the data.

    Returns:
        The content of evaluation.json: scores by model and data set, temperatures, checkpoint, versions, seconds.
    """
    runner = Runner(cfg, "evaluate")
    backbones = load_models(cfg)
    data = runner.build_data(next(iter(backbones.values())))
    sets = order_sets(data, cfg.temperature)
    options: dict[str, Any] = {} if cfg.averages is None else {"averages": cfg.averages}
    if cfg.temperature is not None:
        options["temperature"] = True
    suite = build_suite(cfg, "test_suite", sets, data.suite_context(), tuple(backbones), **options)
    models = {name: backbone.model for name, backbone in backbones.items()}
    module = EvaluationModule(models, suite, untrained=cfg.heads == "zero_shot")
    trainer = runner.trainer
    print_rank_zero(f"evaluating {cfg.checkpoint or cfg.backbone.get('name', 'backbone')}: {', '.join(backbones)}")
    runner.test(module, data)
    data.eval_sets = tuple(sets)
    first_scores = next(iter(module.results.values()))
    runner.check_counts(first_scores, data)
    identity = {
        "checkpoint": cfg.checkpoint,
        "headline": cfg.primary_metric,
        "temperature": module.temperatures,
        "precision": precision_name(trainer, cfg.evaluation.precision),
        **suite.settings(),
    }

    def report(results: dict[str, Any]) -> None:
        labels = {eval_set.name: data.label_names(eval_set) for eval_set in sets}
        _write(runner.folder, labels, suite.details)
        _print_tables(cfg, results, labels, suite)
        print_unscored_sets(first_scores)

    contents = "scores, scores per class and figures" if _with_detail(suite.details, CLASSES) else "scores"
    return runner.finish(EVALUATION, {**module.results, **identity}, report, contents)


def order_sets(data: DataModule, temperature: str | None) -> list[EvalSet]:
    """The test sets, with the one that a temperature is fitted on first; ``data`` reads them in this order.

    Returns:
        The same sets with distinct names; one that is not a test set has the role ``val``.
    """
    sets = list(data.eval_sets)
    if temperature is not None:
        candidates = {VALIDATION: data.val_set, **{eval_set.name: eval_set for eval_set in sets}}
        if temperature not in candidates:
            raise ValueError(f"temperature must be null or one of {', '.join(candidates)}, found {temperature!r}")
        if temperature == VALIDATION:
            check_validation_split(f"temperature={temperature}", data)
            print_validation_split(data)
        fitted = candidates[temperature]
        sets = [fitted, *(eval_set for eval_set in sets if eval_set != fitted)]
    is_tested = sets[0] in data.eval_sets
    data.eval_sets = tuple(sets)
    if not is_tested:
        sets[0] = sets[0]._replace(role=VALIDATION)
    names = [eval_set.name for eval_set in sets]
    if names.count(names[0]) > 1:  # another split of a set of the suite
        sets[0] = sets[0]._replace(name=f"{sets[0].name}-{sets[0].split}")
    return sets


def _with_detail(details: DetailsByModel, kind: str) -> dict[str, dict[str, Details]]:
    """The details of data sets that have some of a kind, by model; models without such data sets are left out."""
    selected = {
        model: {name: values for name, values in sets.items() if kind in values} for model, sets in details.items()
    }
    return {model: sets for model, sets in selected.items() if sets}


def _write(folder: Path, labels: Mapping[str, Sequence[str]], details: DetailsByModel) -> None:
    write_json(folder / DETAILS, {"labels": labels, **details}, indent=None)
    rows: list[list[Any]] = [["model", "data_set", "label", "name", "n", "correct"]]
    for model, sets in _with_detail(details, CLASSES).items():
        for data_set, values in sets.items():
            classes = zip(labels[data_set], values[CLASSES]["n"], values[CLASSES]["correct"], strict=True)
            rows += [[model, data_set, number, *counts] for number, counts in enumerate(classes)]
    if len(rows) > 1:
        write_text(folder / "classes.csv", csv_text(rows))
    with style():
        for model, sets in _with_detail(details, BINS).items():
            figure = reliability_figure({name: values[BINS] for name, values in sets.items()}, model)
            for suffix in ("png", "svg"):
                save(figure, folder / f"reliability-{model}.{suffix}")


def _print_tables(
    cfg: DictConfig, results: Mapping[str, Any], labels: Mapping[str, Sequence[str]], suite: Suite
) -> None:
    classified = _with_detail(suite.details, CLASSES)
    further_tables = suite.tables({model: results[model] for model in suite.details})
    for model in suite.details:
        title = f"{cfg.checkpoint or 'zero-shot'}, evaluated in {results['precision']}"
        scores = {model: results[model]}
        for table in results_tables(title, scores, cfg.primary_metric, suite.metrics, every=not further_tables):
            console.print(table)
        if model in classified:
            console.print(classes_table(f"{model}: worst and best classes", labels, classified[model]))
    for table in further_tables:
        console.print(table)
    for model, temperature in results["temperature"].items():
        console.print(temperature_table(model, temperature, results[model]))
