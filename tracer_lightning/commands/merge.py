"""Merging of finished models, and evaluation of the merged models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from tracer_lightning.commands.runner import Runner, require_images, require_new_folder
from tracer_lightning.config.build import build_suite
from tracer_lightning.config.checkpoint import weights_file
from tracer_lightning.config.class_texts import recorded_class_texts
from tracer_lightning.config.finished_models import ONLY, display_names, match_heads, read_model, read_start
from tracer_lightning.config.schema import INTERPOLATIONS
from tracer_lightning.data import ClipDataModule, DataModule
from tracer_lightning.engine.console import console, print_rank_zero
from tracer_lightning.engine.fisher import image_fisher
from tracer_lightning.engine.precision import precision_name
from tracer_lightning.engine.run_folder import CLASSES, results_beside, write_json
from tracer_lightning.engine.samples import print_unscored_sets
from tracer_lightning.evaluation import EvaluationModule, Suite
from tracer_lightning.merging import Ratio, Weights, check_mergeable, fisher_merge, mean, model_stock, wise_ft
from tracer_lightning.models import ClipModel, Model
from tracer_lightning.models.open_clip.pretrained import FOLDER
from tracer_lightning.reporting.merged import (
    CURVES,
    headlines,
    merged_table,
    ratio_summary,
    ratio_table,
    trade_off_figure,
    write_ratios,
    write_scores,
)
from tracer_lightning.reporting.merges import MergedRun
from tracer_lightning.reporting.runs import read_run
from tracer_lightning.reporting.style import save, style
from tracer_lightning.scores import Metric, Scores
from tracer_lightning.storage import atomic_folder
from tracer_lightning.storage.run_layout import MERGE

THETA_0, MEAN, STOCK = "theta_0", "mean", "model_stock"
ENDS = {"0": "before fine-tuning", "1": "fine-tuned"}
"""Labels of the ends of the curve in figures, by alpha."""
POINTS = {THETA_0: "before fine-tuning", MEAN: "their mean", STOCK: "Model Stock"}
"""Labels of the points of Model Stock in figures, beside those of the runs."""
Fishers = tuple[Weights, Weights]
"""Fisher information of the start and of the fine-tuned model."""


def merge(cfg: DictConfig) -> dict[str, Any]:
    """Merge finished models, evaluate the merged models, and export the last one where ``out`` is set.

    Returns:
        The content of merge.json: scores by model and data set, the models that were merged, versions, seconds.
    """
    runner = Runner(cfg, "merge")
    require_images(cfg, "merge")
    out = None if cfg.out is None else require_new_folder(cfg.out)
    setting, checkpoints = ("checkpoints", [*cfg.checkpoints]) if cfg.checkpoints else ("checkpoint", [cfg.checkpoint])
    backbones = [read_model(cfg, checkpoint, setting, cfg.model) for checkpoint in checkpoints]
    origin, start = read_start(cfg, checkpoints)
    images = runner.build_images(backbones[0], "merge=fisher") if cfg.merge.name == "fisher" else None
    data = runner.build_data(backbones[0]) if images is None else images
    models = dict(zip(_names(checkpoints), (backbone.model for backbone in backbones), strict=True))
    device = runner.trainer.strategy.root_device
    match_heads(cfg, start.model, models, data.context().get("prompts"), device)
    start_weights, tuned = comparable_weights(start.model, models)
    print_rank_zero(f"{cfg.merge.name}: {', '.join(checkpoints)}, from {origin}")
    fishers = None if images is None else _fishers(cfg, start.model, backbones[0].model, images, device)
    candidates, ratios = merged_weights(cfg, start_weights, tuned, fishers)
    merged = backbones[0]._replace(model=copy.deepcopy(backbones[0].model))
    suite = build_suite(cfg, "test_suite", data.eval_sets, data.suite_context(), (ONLY,))
    scores = _evaluate(runner, merged.model, data, suite, candidates)
    identity = {
        "merge": cfg.merge.name,
        "checkpoints": checkpoints,
        "runs": [_merged_run(checkpoint, setting) for checkpoint in checkpoints],
        "start": origin,
        "other_start": cfg.start,
        "head": cfg.merge.get("head"),
        "model": cfg.model,
        "precision": precision_name(runner.trainer, cfg.evaluation.precision),
        **suite.settings(),
        **({} if images is None else {"samples": min(cfg.merge.samples, images.set_size(None))}),
    }

    def report(results: dict[str, Any]) -> None:
        sizes = {name: start_weights[name].numel() for name in ratios}
        _report(cfg, runner.folder, results, suite.metrics, ratios, sizes)
        print_unscored_sets(next(iter(scores.values())))
        if out is not None:
            with atomic_folder(out) as unfinished:
                merged.model.export(merged, unfinished)
                if (texts := recorded_class_texts(checkpoints[0])) is not None:
                    write_json(unfinished / CLASSES, texts._asdict())
            print_rank_zero(f"written: {merged.model.loading_code(f'{FOLDER}{out}') or out}")

    results = {**identity, "scores": scores, "ratios": ratio_summary(ratios)}
    return runner.finish(MERGE, results, report, "scores and figures")


def _merged_run(checkpoint: str, setting: str) -> dict[str, Any] | None:
    """Record of the finished run that a checkpoint belongs to; None for weights that are in no such run's folder."""
    file = weights_file(checkpoint, setting)
    results = None if file is None else results_beside(file)
    if results is None:
        return None
    try:
        run = read_run(results.parent)
    except ValueError:  # its checkpoint can be merged nevertheless
        return None
    record = MergedRun(folder=str(run.folder), name=run.name, seed=run.seed, settings=run.settings)
    return record.model_dump()


def _names(checkpoints: Sequence[str]) -> list[str]:
    return display_names(checkpoints, reserved=(THETA_0, MEAN, STOCK))


def weights_of(model: Model) -> Weights:
    """Weights of a model, by their names without the model's own prefix: those of open_clip have open_clip's names."""
    return {name.removeprefix(model.weights_prefix): value for name, value in model.state_dict().items()}


def load_weights_into(model: Model, weights: Weights) -> None:
    """Load weights with names as in :func:`weights_of` into the model."""
    model.load_state_dict({name: weights[name.removeprefix(model.weights_prefix)] for name in model.state_dict()})


def comparable_weights(start: Model, tuned: Mapping[str, Model]) -> tuple[Weights, dict[str, Weights]]:
    """Weights of the start, and of fine-tuned models by name.

    Raises:
        ValueError: the architectures differ.
    """
    start_weights, weights = weights_of(start), {name: weights_of(model) for name, model in tuned.items()}
    for name, model_weights in weights.items():
        check_mergeable(start_weights, model_weights, ("the start", name))
    return start_weights, weights


def _fishers(
    cfg: DictConfig, start: ClipModel, tuned: ClipModel, data: ClipDataModule, device: torch.device
) -> Fishers:
    """Fisher information of both models on the same training images."""
    print_rank_zero(
        f"Fisher information of both models, of {cfg.merge.samples:,} training images or all that there are"
    )
    of_start, of_tuned = (image_fisher(model, data, cfg.merge.samples, cfg.seed, device) for model in (start, tuned))
    return of_start, of_tuned


def merged_weights(
    cfg: DictConfig, start: Weights, tuned: Mapping[str, Weights], fishers: Fishers | None = None
) -> tuple[dict[str, Callable[[], Weights]], dict[str, Ratio]]:
    """Functions that return the weights of each model to evaluate, by name, and the ratios of Model Stock.

    The last model is the result. Interpolations are computed when their function is called, so that only one is in
    memory.
    """
    models = list(tuned.values())
    if cfg.merge.name in INTERPOLATIONS:
        alphas: Any = cfg.merge.alpha if isinstance(cfg.merge.alpha, Sequence) else [cfg.merge.alpha]
        interpolate = partial(wise_ft, start, models[0])
        if fishers is not None:
            interpolate = partial(fisher_merge, start, models[0], fishers)
        return {f"{alpha:.10g}": partial(interpolate, alpha=alpha) for alpha in alphas}, {}
    stock, ratios = model_stock(start, models)
    weights_by_name: dict[str, Weights] = {THETA_0: start, **tuned, MEAN: mean(models), STOCK: stock}
    return {name: partial(dict, weights) for name, weights in weights_by_name.items()}, ratios


def _evaluate(
    runner: Runner, model: Model, data: DataModule, suite: Suite, candidates: Mapping[str, Callable[[], Weights]]
) -> dict[str, Scores]:
    """Scores of each set of weights. They are loaded into ``model`` one after the other; the last ones stay there."""
    module = EvaluationModule({ONLY: model}, suite)
    results: dict[str, Scores] = {}
    for number, (name, compute_weights) in enumerate(candidates.items(), 1):
        print_rank_zero(f"{name} ({number} of {len(candidates)})")
        load_weights_into(model, compute_weights())
        runner.test(module, data)
        results[name] = module.results[ONLY]
        runner.check_counts(results[name], data)
    return results


def _report(
    cfg: DictConfig,
    folder: Path,
    results: Mapping[str, Any],
    metrics: Sequence[Metric],
    ratios: Mapping[str, Ratio],
    sizes: Mapping[str, int],
) -> None:
    """Write tables and figures, and print the tables."""
    curve, scores, names = CURVES.get(cfg.merge.name), results["scores"], _names(results["checkpoints"])
    head = "alpha" if curve else "model"
    write_scores(folder / "merge.csv", head, scores, metrics)
    title = f"{cfg.merge.name}: {', '.join(names)}, evaluated in {results['precision']}"
    console.print(merged_table(title, head, scores, metrics, cfg.primary_metric))
    if ratios:
        write_ratios(folder / "tensors.csv", ratios, sizes)
        console.print(ratio_table(results["ratios"]))
    axes = headlines(next(iter(scores.values())), metrics, cfg.primary_metric)
    marks = ENDS if curve else {**POINTS, **dict.fromkeys(names, "fine-tuned")}
    for role in ("ood", "other") if "id" in axes else ():
        if role in axes:
            with style():
                figure = trade_off_figure(scores, ("id", axes["id"]), (role, axes[role]), marks, curve)
                for suffix in ("png", "svg"):
                    save(figure, folder / f"id_{role}.{suffix}")
