"""Comparing finished models with one another or with what they started from, block by block."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig

from tracer_lightning.commands.evaluate import ONLY, STUDENT, TEACHER, VALIDATION
from tracer_lightning.commands.load_finished import read_model, recorded_start
from tracer_lightning.commands.merge import names_of
from tracer_lightning.config.build import build_data, build_evaluator
from tracer_lightning.config.checkpoint import weights_file
from tracer_lightning.config.errors import setting
from tracer_lightning.config.validate import check_similarity
from tracer_lightning.data import ClipDataModule
from tracer_lightning.engine.console import console, print_rank_zero, quieten
from tracer_lightning.engine.run_folder import write_json
from tracer_lightning.evaluation.similarity import Pair, Similarity, SimilarityModule, text_similarity
from tracer_lightning.models import Backbone
from tracer_lightning.models.open_clip.activations import BlockOutputs
from tracer_lightning.models.weights import has_teacher
from tracer_lightning.reporting.similarity import ModelPair, curves, heat_maps, similarity_table, write_similarities
from tracer_lightning.reporting.style import save, style
from tracer_lightning.reporting.versions import versions
from tracer_lightning.types import EvalSet

SIMILARITY = "similarity"
"""Name of the files, before their suffix."""
HIGH = 0.3
"""SVCCA by chance from which a warning says so."""
TEXT = "text"
"""What tables call the texts, beside the names of data sets."""
Found = dict[str, dict[ModelPair, Similarity]]
"""By inputs: the name of a data set, or ``text``."""


class Models(NamedTuple):
    """The models that are compared, each read once."""

    backbones: dict[str, Backbone]
    """By numbers."""
    pairs: dict[ModelPair, Pair]
    """Of these."""


def _models_of(checkpoint: str, chosen: Sequence[str] | None, key: str) -> tuple[str, ...]:
    """Which of its models to compare."""
    file = weights_file(checkpoint, key)
    teacher = None if file is None else has_teacher(file, key)
    names = (ONLY,) if teacher is None else (STUDENT, TEACHER) if teacher else (STUDENT,)
    kept = tuple(name for name in names if chosen is None or (STUDENT if name == ONLY else name) in chosen)
    if not kept:
        raise ValueError(f"models: {checkpoint} holds {', '.join(names)}, and none of {', '.join(chosen or ())}")
    return kept


def _compared(cfg: DictConfig) -> list[ModelPair]:
    """What is compared with what."""
    found, names = [], names_of(cfg.first)
    for checkpoint, run in zip(cfg.first, names, strict=True):
        second = recorded_start(checkpoint, "second") if cfg.second is None else cfg.second
        other = _models_of(second, None, "second")
        if cfg.second_model not in other and not (ONLY in other and cfg.second_model == STUDENT):
            raise ValueError(f"second_model={cfg.second_model}: {second} holds {', '.join(other)}")
        models = _models_of(checkpoint, cfg.models, "first")
        for model in models:
            name = f"{run} {model}" if len(models) > 1 else run
            found.append(ModelPair(checkpoint, model, second, ONLY if ONLY in other else cfg.second_model, run, name))
    return found


def _read(cfg: DictConfig, compared: Sequence[ModelPair]) -> Models:
    """Load each model that is compared once."""
    numbers: dict[tuple[str, str], str] = {}
    backbones, pairs = {}, {}
    for one in compared:
        sides = []
        for key, side in (("first", (one.first, one.model)), ("second", (one.second, one.second_model))):
            if side not in numbers:
                numbers[side] = str(len(numbers))
                backbones[numbers[side]] = read_model(cfg, side[0], key, side[1])
            sides.append(numbers[side])
        pairs[one] = (sides[0], sides[1])
    return Models(backbones, pairs)


def data_for(cfg: DictConfig, backbones: Mapping[str, Backbone]) -> ClipDataModule:
    """The data, for the inputs of all of them, in random order.

    Raises:
        ValueError: the models take different inputs.
    """
    first, *others = backbones.values()
    texts = [f"a photo of a {word}" for word in ("dog", "hovercraft", "zucchini")]
    for other in others:
        different = [
            name
            for name in ("image_size", "mean", "std", "interpolation", "resize_mode")
            if getattr(first.spec, name) != getattr(other.spec, name)
        ]
        if (
            "text" in cfg.towers
            and not different
            and not torch.equal(first.spec.tokenize(texts), other.spec.tokenize(texts))
        ):
            different = ["tokenize"]
        if different:
            raise ValueError(f"second: the models differ in {', '.join(different)}, and must take the same inputs")
    trims = all(backbone.spec.trims_text for backbone in backbones.values())
    data = build_data(cfg, first._replace(spec=first.spec._replace(trims_text=trims)))
    data.trains = False
    data.shuffle_evaluation(cfg.seed, cfg.samples)
    return data


def _chosen_sets(cfg: DictConfig, data: ClipDataModule) -> dict[str, EvalSet]:
    """Those that ``split`` names, under names that tell them apart."""
    known = {**{eval_set.name: eval_set for eval_set in data.eval_sets}, VALIDATION: data.val_set}
    names = [data.eval_sets[0].name] if cfg.split is None else [cfg.split] if isinstance(cfg.split, str) else cfg.split
    for name in names:
        if name not in known:
            raise ValueError(f"split: there is no {name}; choose some of {', '.join(known)}")
    validation = f"{data.val_set.name}-{data.val_set.split}"
    return {validation if name == VALIDATION else name: known[name] for name in names}


def _compare(cfg: DictConfig, trainer: pl.Trainer, data: ClipDataModule, models: Models) -> Found:
    """All towers and sets that are asked for."""
    pairs = list(models.pairs.values())
    towers = {
        tower: {
            name: BlockOutputs(backbone.model.eval(), tower, cfg.tokens) for name, backbone in models.backbones.items()
        }
        for tower in cfg.towers
    }
    found = {}
    chosen = _chosen_sets(cfg, data) if "image" in towers else {}
    for name, eval_set in chosen.items():
        print_rank_zero(f"{name}: {data.eval_batch_size} pictures at once")
        data.eval_sets = (eval_set,)
        module = SimilarityModule(towers["image"], pairs)
        with setting(f"split={name}"):
            trainer.test(module, datamodule=data, verbose=False)
        found[name] = {one: module.found[pair] for one, pair in models.pairs.items()}
    if "text" in towers:
        device = trainer.strategy.root_device
        texts = data.prompts().flatten(0, 1)
        texts = texts[torch.randperm(len(texts), generator=torch.Generator().manual_seed(cfg.seed))]
        for outputs in towers["text"].values():
            outputs.to(device)
        with setting("towers"):
            results = text_similarity(towers["text"], pairs, texts.to(device))
        found[TEXT] = {one: results[pair] for one, pair in models.pairs.items()}
    return found


def similarity(cfg: DictConfig) -> dict[str, Any]:
    """Compare what ``cfg`` names, in one pass over each data set.

    Returns:
        What similarity.json holds: every comparison, versions, seconds.
    """
    quieten()
    check_similarity(cfg)
    began, output = time.perf_counter(), Path(cfg.paths.output_dir)
    models = _read(cfg, _compared(cfg))
    data = data_for(cfg, models.backbones)
    trainer = build_evaluator(cfg)
    for one in models.pairs:
        print_rank_zero(f"{one.name}: {one.first} and {one.second}")
    found = _compare(cfg, trainer, data, models)
    seconds = round(time.perf_counter() - began, 1)
    comparisons = [
        {**one._asdict(), "inputs": {inputs: _written(values[one]) for inputs, values in found.items()}}
        for one in models.pairs
    ]
    about = {"tokens": cfg.tokens, "samples": cfg.samples, "seed": cfg.seed, "batch": data.eval_batch_size}
    results = {"comparisons": comparisons, **about, "versions": versions(), "seconds": seconds}
    if trainer.is_global_zero:
        write_json(output / f"{SIMILARITY}.json", results)
        write_similarities(output / f"{SIMILARITY}.csv", found)
        _show(output, found)
        print_rank_zero(f"{seconds} s; {SIMILARITY}.json, {SIMILARITY}.csv and pictures are in {output}")
    return results


def _written(found: Similarity) -> dict[str, Any]:
    return {**found._asdict(), "svcca_chance": found.chance}


def _show(output: Path, found: Found) -> None:
    """Print and draw."""
    for inputs, values in found.items():
        title = f"{inputs}, {next(iter(values.values())).n:,} {'texts' if inputs == TEXT else 'pictures'}"
        chance = max(similarity.chance for similarity in values.values())
        if chance > HIGH:
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
                    save(figure, output / f"{kind}-{inputs}.{suffix}")
