"""Evaluation of finished models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tracer_lightning.commands.runner import Runner
from tracer_lightning.config.check_built import check_validation_split
from tracer_lightning.config.finished_models import load_models
from tracer_lightning.data import ClipDataModule
from tracer_lightning.engine.console import console, print_rank_zero
from tracer_lightning.engine.precision import precision_name
from tracer_lightning.engine.run_folder import DETAILS, write_json
from tracer_lightning.engine.samples import print_unscored_sets, print_validation_split
from tracer_lightning.evaluation import Details, EvaluationModule, ZeroShotSuite, results_table
from tracer_lightning.evaluation.tables import classes_table, temperature_table
from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.reporting.reliability import reliability_figure
from tracer_lightning.reporting.style import save, style
from tracer_lightning.storage import write_text
from tracer_lightning.types import EvalSet

EVALUATION = "evaluation.json"
VALIDATION = "val"
"""Value of ``temperature`` that selects the in-distribution split watched during training."""
DetailsByModel = Mapping[str, Mapping[str, Details]]
"""Counts per class and bin, by model and data set."""


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Evaluate finished models, in one pass over the data.

    Returns:
        The content of evaluation.json: scores by model and data set, temperatures, checkpoint, versions, seconds.
    """
    runner = Runner(cfg, "evaluate")
    backbones = load_models(cfg)
    data = runner.build_data(next(iter(backbones.values())))
    sets = order_sets(data, cfg.temperature)
    suite = ZeroShotSuite(
        sets,
        data.prompts(),
        models=tuple(backbones),
        ece_per_batch=True,
        averages=cfg.averages,
        temperature=cfg.temperature is not None,
    )
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
    }

    def report(results: dict[str, Any]) -> None:
        labels = {eval_set.name: data.label_names(eval_set) for eval_set in sets}
        _write(runner.folder, labels, suite.details)
        _print_tables(cfg, results, labels, suite.details)
        print_unscored_sets(first_scores)

    return runner.finish(EVALUATION, {**module.results, **identity}, report, "scores, scores per class and figures")


def order_sets(data: ClipDataModule, temperature: str | None) -> list[EvalSet]:
    """The test sets, with the one that a temperature is fitted on first; ``data`` reads them in this order.

    Returns:
        The same sets with distinct names.
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
    data.eval_sets = tuple(sets)
    names = [eval_set.name for eval_set in sets]
    if names.count(names[0]) > 1:  # another split of a set of the suite
        sets[0] = sets[0]._replace(name=f"{sets[0].name}-{sets[0].split}", role=VALIDATION)
    return sets


def _write(folder: Path, labels: Mapping[str, Sequence[str]], details: DetailsByModel) -> None:
    write_json(folder / DETAILS, {"labels": labels, **details}, indent=None)
    rows: list[list[Any]] = [["model", "data_set", "label", "name", "n", "correct"]]
    for model, sets in details.items():
        for data_set, values in sets.items():
            classes = zip(labels[data_set], values["classes"]["n"], values["classes"]["correct"], strict=True)
            rows += [[model, data_set, number, *counts] for number, counts in enumerate(classes)]
    write_text(folder / "classes.csv", csv_text(rows))
    with style():
        for model, sets in details.items():
            figure = reliability_figure({name: values["bins"] for name, values in sets.items()}, model)
            for suffix in ("png", "svg"):
                save(figure, folder / f"reliability-{model}.{suffix}")


def _print_tables(
    cfg: DictConfig, results: Mapping[str, Any], labels: Mapping[str, Sequence[str]], details: DetailsByModel
) -> None:
    for model in details:
        title = f"{cfg.checkpoint or 'zero-shot'}, evaluated in {results['precision']}"
        console.print(results_table(title, {model: results[model]}, cfg.primary_metric, every=True))
        console.print(classes_table(f"{model}: worst and best classes", labels, details[model]))
    for model, temperature in results["temperature"].items():
        console.print(temperature_table(model, temperature, results[model]))
