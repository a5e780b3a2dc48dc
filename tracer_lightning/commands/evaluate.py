"""Evaluating finished models."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tracer_lightning.config.backbones import finished_backbone
from tracer_lightning.config.build import build_evaluator, build_images
from tracer_lightning.config.checkpoint import weights_file
from tracer_lightning.config.validate import check_evaluation
from tracer_lightning.data import ClipDataModule
from tracer_lightning.engine.console import console, print_rank_zero, quieten
from tracer_lightning.engine.optimized_metric import check_validation
from tracer_lightning.engine.precision import evaluated_in
from tracer_lightning.engine.run import check_counts, say_held_out, say_unscored
from tracer_lightning.engine.run_folder import DETAILS, write_json
from tracer_lightning.evaluation import EvaluationModule, ZeroShotSuite, results_table
from tracer_lightning.evaluation.tables import classes_table, temperature_table
from tracer_lightning.models import Backbone
from tracer_lightning.models.weights import has_teacher
from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.reporting.reliability import reliability_figure
from tracer_lightning.reporting.style import save, style
from tracer_lightning.reporting.versions import versions
from tracer_lightning.storage import write_text
from tracer_lightning.types import EvalSet

EVALUATION = "evaluation.json"
STUDENT, TEACHER, ONLY = "student", "teacher", "model"
VALIDATION = "val"
"""What ``temperature`` calls the ID split watched during training."""


def load_models(cfg: DictConfig) -> dict[str, Backbone]:
    """Student and teacher of a run's checkpoint, or the one model that ``checkpoint`` and ``backbone`` name."""
    file = weights_file(cfg.checkpoint)
    teacher = None if file is None else has_teacher(file, "checkpoint")
    names = (ONLY,) if teacher is None else (STUDENT, TEACHER) if teacher else (STUDENT,)
    chosen = names if cfg.models is None else tuple(cfg.models)
    if not chosen or not set(chosen) <= set(names):
        raise ValueError(f"models must be null or some of {', '.join(names)}, found {list(chosen)}")
    return {name: finished_backbone(cfg, file, "checkpoint", teacher=name == TEACHER) for name in chosen}


def ordered_sets(data: ClipDataModule, temperature: str | None) -> list[EvalSet]:
    """The data sets to evaluate, the one that a temperature is fitted on first; ``data`` reads them in this order.

    Returns:
        The same sets under names that tell them apart.
    """
    sets = list(data.eval_sets)
    if temperature is not None:
        known = {VALIDATION: data.val_set, **{eval_set.name: eval_set for eval_set in sets}}
        if temperature not in known:
            raise ValueError(f"temperature must be null or one of {', '.join(known)}, found {temperature!r}")
        if temperature == VALIDATION:
            check_validation(f"temperature={temperature}", data)
            say_held_out(data)
        chosen = known[temperature]
        sets = [chosen, *(eval_set for eval_set in sets if eval_set != chosen)]
    data.eval_sets = tuple(sets)
    names = [eval_set.name for eval_set in sets]
    if names.count(names[0]) > 1:  # another split of a set of the suite
        sets[0] = sets[0]._replace(name=f"{sets[0].name}-{sets[0].split}", role=VALIDATION)
    return sets


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Evaluate what ``cfg`` describes, in one pass over the data.

    Returns:
        What evaluation.json holds: scores by model and data set, temperatures, checkpoint, versions, seconds.
    """
    quieten()
    check_evaluation(cfg)
    start, output = time.perf_counter(), Path(cfg.paths.output_dir)
    backbones = load_models(cfg)
    data = build_images(cfg, next(iter(backbones.values())))
    data.trains = False
    sets = ordered_sets(data, cfg.temperature)
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
    trainer = build_evaluator(cfg)
    print_rank_zero(f"evaluating {cfg.checkpoint or cfg.backbone.get('name', 'backbone')}: {', '.join(backbones)}")
    trainer.test(module, datamodule=data, verbose=False)
    data.eval_sets = tuple(sets)
    if trainer.limit_test_batches == 1.0:
        check_counts(next(iter(module.results.values())), data)
    identity = {"checkpoint": cfg.checkpoint, "headline": cfg.primary_metric, "temperature": module.temperatures}
    identity["precision"] = evaluated_in(trainer, cfg.evaluation.precision)
    seconds = round(time.perf_counter() - start, 1)
    results = {**module.results, **identity, "versions": versions(), "seconds": seconds}
    if trainer.is_global_zero:
        names = {eval_set.name: data.label_names(eval_set) for eval_set in sets}
        _write(output, results, names, suite.details)
        _show(cfg, results, names, suite.details)
        say_unscored(next(iter(module.results.values())))
        print_rank_zero(f"{seconds} s; scores, scores per class and pictures are in {output}")
    return results


def _write(output: Path, results: dict[str, Any], labels: dict[str, list[str]], details: Any) -> None:
    write_json(output / EVALUATION, results)
    write_json(output / DETAILS, {"labels": labels, **details}, indent=None)
    rows: list[list[Any]] = [["model", "data_set", "label", "name", "n", "correct"]]
    for model, sets in details.items():
        for data_set, values in sets.items():
            classes = zip(labels[data_set], values["classes"]["n"], values["classes"]["correct"], strict=True)
            rows += [[model, data_set, number, *counts] for number, counts in enumerate(classes)]
    write_text(output / "classes.csv", csv_text(rows))
    with style():
        for model, sets in details.items():
            figure = reliability_figure({name: values["bins"] for name, values in sets.items()}, model)
            for suffix in ("png", "svg"):
                save(figure, output / f"reliability-{model}.{suffix}")


def _show(cfg: DictConfig, results: dict[str, Any], labels: dict[str, list[str]], details: Any) -> None:
    for model in details:
        title = f"{cfg.checkpoint or 'zero-shot'}, evaluated in {results['precision']}"
        console.print(results_table(title, {model: results[model]}, cfg.primary_metric, every=True))
        console.print(classes_table(f"{model}: worst and best classes", labels, details[model]))
    for model, found in results["temperature"].items():
        console.print(temperature_table(model, found, results[model]))
