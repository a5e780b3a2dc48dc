"""Comparison of finished models with one another or with the weights that they started from, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from tracer_lightning.commands.evaluate import VALIDATION
from tracer_lightning.commands.runner import Runner, require_clip, require_images
from tracer_lightning.config.errors import setting
from tracer_lightning.config.finished_models import (
    ONLY,
    STUDENT,
    display_names,
    names_in,
    read_model,
    recorded_start,
)
from tracer_lightning.data import ClipDataModule
from tracer_lightning.engine.console import console, print_rank_zero
from tracer_lightning.evaluation.similarity import Pair, Similarity, SimilarityModule, text_similarity
from tracer_lightning.models import Backbone
from tracer_lightning.models.open_clip.activations import BlockOutputs
from tracer_lightning.reporting.similarity import ModelPair, curves, heat_maps, similarity_table, write_similarities
from tracer_lightning.reporting.style import save, style
from tracer_lightning.types import EvalSet

SIMILARITY = "similarity"
"""Stem of the names of the files."""
CHANCE_WARNING = 0.3
"""SVCCA of unrelated blocks from which a warning is printed."""
TEXT = "text"
"""Name of the texts in tables, beside the names of data sets."""
PROBE_WORDS = ("dog", "hovercraft", "zucchini")
"""Words that are tokenized to find out whether two tokenizers differ."""
Similarities = dict[str, dict[ModelPair, Similarity]]
"""Similarities by inputs (name of a data set, or ``text``) and comparison."""


class Models(NamedTuple):
    """Models to compare, each loaded once."""

    backbones: dict[str, Backbone]
    """Backbones by number."""
    pairs: dict[ModelPair, Pair]
    """Numbers of the two backbones of each comparison."""


def similarity(cfg: DictConfig) -> dict[str, Any]:
    """Compare models block by block, in one pass over each data set.

    Returns:
        The content of similarity.json: all comparisons, versions, seconds.
    """
    runner = Runner(cfg, "similarity")
    require_images(cfg, SIMILARITY)  # before a start is looked for, which the run may lack
    models = _load(cfg, _list_comparisons(cfg))
    data = _build_data(runner, models.backbones)
    for comparison in models.pairs:
        print_rank_zero(f"{comparison.name}: {comparison.first} and {comparison.second}")
    similarities = _compare(runner, data, models)
    results = {
        "comparisons": [
            {
                **comparison._asdict(),
                "inputs": {inputs: _to_plain(values[comparison]) for inputs, values in similarities.items()},
            }
            for comparison in models.pairs
        ],
        "tokens": cfg.tokens,
        "samples": cfg.samples,
        "seed": cfg.seed,
        "batch": data.eval_batch_size,
    }

    def report(_: dict[str, Any]) -> None:
        write_similarities(runner.folder / f"{SIMILARITY}.csv", similarities)
        _show(runner.folder, similarities)

    return runner.finish(f"{SIMILARITY}.json", results, report, f"{SIMILARITY}.json, {SIMILARITY}.csv and figures")


def _select_models(checkpoint: str, models: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the models of a checkpoint to compare; ``student`` also selects a single model."""
    names = names_in(checkpoint, "first")
    selected = tuple(name for name in names if models is None or (STUDENT if name == ONLY else name) in models)
    if not selected:
        raise ValueError(f"models: {checkpoint} holds {', '.join(names)}, and none of {', '.join(models or ())}")
    return selected


def _list_comparisons(cfg: DictConfig) -> list[ModelPair]:
    comparisons = []
    for checkpoint, run in zip(cfg.first, display_names(cfg.first), strict=True):
        second = recorded_start(checkpoint, "second") if cfg.second is None else cfg.second
        names = names_in(second, "second")
        if cfg.second_model not in names and not (ONLY in names and cfg.second_model == STUDENT):
            raise ValueError(f"second_model={cfg.second_model}: {second} holds {', '.join(names)}")
        second_model = ONLY if ONLY in names else cfg.second_model
        models = _select_models(checkpoint, cfg.models)
        for model in models:
            name = f"{run} {model}" if len(models) > 1 else run
            comparisons.append(ModelPair(checkpoint, model, second, second_model, run, name))
    return comparisons


def _load(cfg: DictConfig, comparisons: Sequence[ModelPair]) -> Models:
    """Load each model that is compared once."""
    numbers: dict[tuple[str, str], str] = {}
    backbones, pairs = {}, {}
    for comparison in comparisons:
        sides = (("first", comparison.first, comparison.model), ("second", comparison.second, comparison.second_model))
        for key, checkpoint, model in sides:
            if (checkpoint, model) not in numbers:
                number = numbers[checkpoint, model] = str(len(numbers))
                backbones[number] = read_model(cfg, checkpoint, key, model)
        first, second = (numbers[checkpoint, model] for _, checkpoint, model in sides)
        pairs[comparison] = (first, second)
    return Models(backbones, pairs)


def check_same_inputs(backbones: Mapping[str, Backbone], towers: Sequence[str]) -> None:
    """Raise ValueError where backbones take different inputs: images or, of text towers, tokens."""
    first, *others = backbones.values()
    texts = [f"a photo of a {word}" for word in PROBE_WORDS]
    for backbone in others:
        differences = [
            name
            for name in ("image_size", "mean", "std", "interpolation", "resize_mode")
            if getattr(first.spec, name) != getattr(backbone.spec, name)
        ]
        if (
            "text" in towers
            and not differences
            and not torch.equal(first.spec.tokenize(texts), backbone.spec.tokenize(texts))
        ):
            differences = ["tokenize"]
        if differences:
            raise ValueError(f"second: the models differ in {', '.join(differences)}, and must take the same inputs")


def _build_data(runner: Runner, backbones: Mapping[str, Backbone]) -> ClipDataModule:
    """The data module for the inputs of all backbones, in random order."""
    require_clip(backbones.values(), SIMILARITY)
    check_same_inputs(backbones, runner.cfg.towers)
    first, *_ = backbones.values()
    trims = all(backbone.spec.trims_text for backbone in backbones.values())
    data = runner.build_images(first._replace(spec=first.spec._replace(trims_text=trims)), SIMILARITY)
    data.shuffle_evaluation(runner.cfg.seed, runner.cfg.samples)
    return data


def _select_sets(cfg: DictConfig, data: ClipDataModule) -> dict[str, EvalSet]:
    """The data sets that ``split`` names, under distinct names."""
    candidates = {**{eval_set.name: eval_set for eval_set in data.eval_sets}, VALIDATION: data.val_set}
    names = [data.eval_sets[0].name] if cfg.split is None else [cfg.split] if isinstance(cfg.split, str) else cfg.split
    for name in names:
        if name not in candidates:
            raise ValueError(f"split: there is no {name}; choose some of {', '.join(candidates)}")
    validation = f"{data.val_set.name}-{data.val_set.split}"
    return {validation if name == VALIDATION else name: candidates[name] for name in names}


def _compare(runner: Runner, data: ClipDataModule, models: Models) -> Similarities:
    """Similarities in the selected towers, on the selected data sets."""
    cfg, trainer = runner.cfg, runner.trainer
    pairs = list(models.pairs.values())
    towers = {
        tower: {
            name: BlockOutputs(backbone.model.eval(), tower, cfg.tokens) for name, backbone in models.backbones.items()
        }
        for tower in cfg.towers
    }
    similarities = {}
    sets = _select_sets(cfg, data) if "image" in towers else {}
    for name, eval_set in sets.items():
        print_rank_zero(f"{name}: batches of {data.eval_batch_size} images")
        data.eval_sets = (eval_set,)
        module = SimilarityModule(towers["image"], pairs)
        with setting(f"split={name}"):
            runner.test(module, data)
        similarities[name] = {comparison: module.similarities[pair] for comparison, pair in models.pairs.items()}
    if "text" in towers:
        device = trainer.strategy.root_device
        texts = data.prompts().flatten(0, 1)
        texts = texts[torch.randperm(len(texts), generator=torch.Generator().manual_seed(cfg.seed))]
        for outputs in towers["text"].values():
            outputs.to(device)
        with setting("towers"):
            by_pair = text_similarity(towers["text"], pairs, texts.to(device))
        similarities[TEXT] = {comparison: by_pair[pair] for comparison, pair in models.pairs.items()}
    return similarities


def _to_plain(similarity: Similarity) -> dict[str, Any]:
    return {**similarity._asdict(), "svcca_chance": similarity.chance}


def _show(folder: Path, similarities: Similarities) -> None:
    """Print tables and draw figures."""
    for inputs, values in similarities.items():
        title = f"{inputs}, {next(iter(values.values())).n:,} {'texts' if inputs == TEXT else 'images'}"
        chance = max(similarity.chance for similarity in values.values())
        if chance > CHANCE_WARNING:
            print_rank_zero(
                f"warning: {inputs}: SVCCA finds up to {chance:.2f} in unrelated blocks, for there are too few inputs"
            )
        table, lines = similarity_table(title, values), curves(title, values)
        if table is None or lines is None:
            print_rank_zero(
                f"{inputs}: the models have different blocks, which only the heat map and the files compare"
            )
        else:
            console.print(table)
        figures = {"heatmap": heat_maps(title, values), **({} if lines is None else {"curves": lines})}
        with style():
            for kind, figure in figures.items():
                for suffix in ("png", "svg"):
                    save(figure, folder / f"{kind}-{inputs}.{suffix}")
