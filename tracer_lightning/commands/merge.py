"""Merging finished models, and evaluating what comes out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig

from tracer_lightning.commands.export import free_folder
from tracer_lightning.commands.fisher import image_fisher
from tracer_lightning.commands.load_finished import match_heads, read_model, read_start
from tracer_lightning.config.build import build_data, build_evaluator
from tracer_lightning.config.validate import CURVES, check_merge
from tracer_lightning.data import ClipDataModule
from tracer_lightning.engine.console import console, print_rank_zero, quieten
from tracer_lightning.engine.precision import evaluated_in
from tracer_lightning.engine.run import check_counts, say_unscored
from tracer_lightning.engine.run_folder import write_json
from tracer_lightning.evaluation import EvaluationModule, Scores, ZeroShotSuite
from tracer_lightning.merging import Ratio, Weights, check_mergeable, fisher_merge, mean, model_stock, wise_ft
from tracer_lightning.models import ClipModel
from tracer_lightning.models.open_clip.export import export_clip
from tracer_lightning.models.open_clip.state_dicts import CLIP
from tracer_lightning.reporting.merged import (
    ROLES,
    by_role,
    id_ood_figure,
    merged_table,
    ratio_summary,
    ratio_table,
    write_ratios,
    write_scores,
)
from tracer_lightning.reporting.style import save, style
from tracer_lightning.reporting.versions import versions
from tracer_lightning.storage import making

ONLY = "model"
THETA_0, MEAN, STOCK = "theta_0", "mean", "model_stock"
ENDS = {"0": "before fine-tuning", "1": "fine-tuned"}
"""Of the curve, as pictures mark them."""
POINTS = {THETA_0: "before fine-tuning", MEAN: "their mean", STOCK: "Model Stock"}
"""Of Model Stock, likewise, beside the runs."""


def weights_of(model: ClipModel) -> Weights:
    """Its weights, by open_clip's names for those of open_clip's model."""
    return {name.removeprefix(CLIP): value for name, value in model.state_dict().items()}


def load(model: ClipModel, weights: Weights) -> None:
    """Put weights by these names into the model."""
    model.load_state_dict({name: weights[name.removeprefix(CLIP)] for name in model.state_dict()})


def comparable(start: ClipModel, tuned: Mapping[str, ClipModel]) -> tuple[Weights, dict[str, Weights]]:
    """Weights of models with the same parts: of the start, and of the others by their names.

    Raises:
        ValueError: the architectures differ.
    """
    first, others = weights_of(start), {name: weights_of(model) for name, model in tuned.items()}
    for name, weights in others.items():
        check_mergeable(first, weights, ("the start", name))
    return first, others


def names_of(checkpoints: Sequence[str]) -> list[str]:
    """Names of the models in tables: of their folders or files where these tell them apart, else their paths."""
    names = [Path(checkpoint).name for checkpoint in checkpoints]
    return names if len({*names, THETA_0, MEAN, STOCK}) == len(names) + 3 else list(checkpoints)


Fishers = tuple[Weights, Weights]


def fishers_of(
    cfg: DictConfig, start: ClipModel, tuned: ClipModel, data: ClipDataModule, device: torch.device
) -> Fishers | None:
    """Fisher information of both ends on the same training images; None for a merge that has no use for it."""
    if cfg.merge.name != "fisher":
        return None
    print_rank_zero(
        f"Fisher information of both models, of {cfg.merge.samples:,} training images or all that there are"
    )
    first, second = (image_fisher(model, data, cfg.merge.samples, cfg.seed, device) for model in (start, tuned))
    return first, second


def candidates(
    cfg: DictConfig, start: Weights, tuned: Mapping[str, Weights], fishers: Fishers | None = None
) -> tuple[dict[str, Callable[[], Weights]], dict[str, Ratio]]:
    """What makes each model that is evaluated, by its name, and the ratios of Model Stock; the last is the result.

    Alphas are interpolated when they are called for, so that none is kept.
    """
    models = list(tuned.values())
    if cfg.merge.name in CURVES:
        alphas: Any = cfg.merge.alpha if isinstance(cfg.merge.alpha, Sequence) else [cfg.merge.alpha]
        mix = partial(wise_ft, start, models[0])
        if fishers is not None:
            mix = partial(fisher_merge, start, models[0], fishers)
        return {f"{alpha:.10g}": partial(mix, alpha=alpha) for alpha in alphas}, {}
    stock, ratios = model_stock(start, models)
    found: dict[str, Weights] = {THETA_0: start, **tuned, MEAN: mean(models), STOCK: stock}
    return {name: partial(dict, weights) for name, weights in found.items()}, ratios


def evaluated(
    trainer: pl.Trainer, model: ClipModel, data: ClipDataModule, made: Mapping[str, Callable[[], Weights]]
) -> dict[str, Scores]:
    """Scores of each set of weights, which are put into ``model`` one after the other; the last ones stay."""
    module = EvaluationModule({ONLY: model}, ZeroShotSuite(data.eval_sets, data.prompts(), models=(ONLY,)))
    results: dict[str, Scores] = {}
    for number, (name, make_weights) in enumerate(made.items(), 1):
        print_rank_zero(f"{name} ({number} of {len(made)})")
        load(model, make_weights())
        trainer.test(module, datamodule=data, verbose=False)
        results[name] = module.results[ONLY]
        if trainer.limit_test_batches == 1.0:
            check_counts(results[name], data)
    return results


def merge(cfg: DictConfig) -> dict[str, Any]:
    """Merge what ``cfg`` names, evaluate it, and write the result for open_clip if asked to.

    Returns:
        What merge.json holds: scores by model and data set, what was merged, versions, seconds.
    """
    quieten()
    check_merge(cfg)
    began, output = time.perf_counter(), Path(cfg.paths.output_dir)
    out = None if cfg.out is None else free_folder(cfg.out)
    setting, checkpoints = ("checkpoints", [*cfg.checkpoints]) if cfg.checkpoints else ("checkpoint", [cfg.checkpoint])
    models = [read_model(cfg, checkpoint, setting, cfg.model) for checkpoint in checkpoints]
    origin, start = read_start(cfg, checkpoints)
    data = build_data(cfg, models[0])
    data.trains = False
    trainer = build_evaluator(cfg)
    named = dict(zip(names_of(checkpoints), (backbone.model for backbone in models), strict=True))
    device = trainer.strategy.root_device
    match_heads(cfg, start.model, named, data.prompts(), device)
    weights, tuned = comparable(start.model, named)
    print_rank_zero(f"{cfg.merge.name}: {', '.join(checkpoints)}, from {origin}")
    fishers = fishers_of(cfg, start.model, models[0].model, data, device)
    made, ratios = candidates(cfg, weights, tuned, fishers)
    result = models[0]._replace(model=copy.deepcopy(models[0].model))
    scores = evaluated(trainer, result.model, data, made)
    about = {"merge": cfg.merge.name, "checkpoints": checkpoints, "start": origin, "model": cfg.model}
    about["precision"] = evaluated_in(trainer, cfg.evaluation.precision)
    about |= {} if fishers is None else {"samples": min(cfg.merge.samples, data.set_size(None))}
    seconds = round(time.perf_counter() - began, 1)
    results = {**about, "scores": scores, "ratios": ratio_summary(ratios), "versions": versions(), "seconds": seconds}
    if trainer.is_global_zero:
        sizes = {name: weights[name].numel() for name in ratios}
        _report(cfg, output, results, ratios, sizes)
        say_unscored(next(iter(scores.values())))
        if out is not None:
            with making(out) as partial:
                export_clip(result, partial)
            print_rank_zero(f'written: open_clip.create_model_and_transforms("local-dir:{out}")')
        print_rank_zero(f"{seconds} s; scores and pictures are in {output}")
    return results


def _report(
    cfg: DictConfig, output: Path, results: Mapping[str, Any], ratios: Mapping[str, Ratio], sizes: Mapping[str, int]
) -> None:
    """Files and tables."""
    curve, scores, names = CURVES.get(cfg.merge.name), results["scores"], names_of(results["checkpoints"])
    head = "alpha" if curve else "model"
    metric = "accuracy" if cfg.primary_metric == "ece" else cfg.primary_metric
    write_json(output / "merge.json", results)
    write_scores(output / "merge.csv", head, scores)
    title = f"{cfg.merge.name}: {', '.join(names)}, evaluated in {results['precision']}"
    console.print(merged_table(title, head, scores, metric))
    if ratios:
        write_ratios(output / "tensors.csv", ratios, sizes)
        console.print(ratio_table(results["ratios"]))
    if set(by_role(next(iter(scores.values())), metric)) == set(ROLES):
        runs = dict.fromkeys(names, "fine-tuned")
        with style():
            figure = id_ood_figure(scores, metric, ENDS if curve else {**POINTS, **runs}, curve)
            for suffix in ("png", "svg"):
                save(figure, output / f"id_ood.{suffix}")
