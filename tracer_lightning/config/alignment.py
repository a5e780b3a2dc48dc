"""Another modality: the embedder of its samples, and stage 1, which runs before head and teacher are made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig
from rich.table import Table

from tracer_lightning.alignment import Alignment, Objective, Source, align, read_source
from tracer_lightning.alignment.recalibration import Recalibration
from tracer_lightning.alignment.saved import read_alignment, write_alignment
from tracer_lightning.alignment.stage import Step
from tracer_lightning.config.backbones import add_embedder
from tracer_lightning.config.build import build_data, make, make_data
from tracer_lightning.config.errors import setting
from tracer_lightning.config.ignored import ignored_settings
from tracer_lightning.config.mixing import without_mix
from tracer_lightning.config.prerequisite import compose_prerequisite
from tracer_lightning.data import ClipDataModule, DataModule
from tracer_lightning.engine.console import console, print_rank_zero
from tracer_lightning.engine.run_folder import ALIGNMENT, ALIGNMENT_LOG
from tracer_lightning.functional.wording import counted
from tracer_lightning.models import Backbone
from tracer_lightning.phases import phase
from tracer_lightning.reporting.alignment_table import alignment_tables
from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.storage import write_text

SOURCE = "align.source"
"""Key of the data of the source modality."""


def prepare_modality(
    cfg: DictConfig, backbone: Backbone, data: DataModule, trainer: pl.Trainer, checkpoint: Path | None
) -> Alignment | None:
    """Give the model the embedder of the data's modality, and learn it as the group ``align`` says.

    A run that is continued takes the embedder that it has learned from its folder.

    Args:
        cfg: configuration of a run; ``embedder.shape`` becomes that of the data where it is null.
        backbone: model with the embedder of images; its weights are those that the run starts from.
        data: data module of the run.
        trainer: trainer of the run.
        checkpoint: checkpoint to continue from, if any.

    Returns:
        None for images, and where there is no source modality to compare with.
    """
    for line in ignored_settings(cfg):
        print_rank_zero(f"warning: {line}")
    if not cfg.embedder:
        return None
    if not isinstance(data, ClipDataModule):
        raise ValueError(f"embedder: a {type(data).__name__} has no samples to embed; choose embedder=pixels")
    has_source = cfg.align.source is not None or cfg.prerequisite is not None
    backbone.model.to(trainer.strategy.root_device)
    with isolate_rng():  # a continued run draws nothing here
        source = _source(cfg, backbone, trainer) if has_source and checkpoint is None else None
    if cfg.embedder.shape is None:
        cfg.embedder.shape = list(data.sample_shape)
    add_embedder(cfg, backbone.model)
    if not has_source:
        _check_needs_no_source(cfg)
        return None
    if checkpoint is not None:
        alignment = _saved_alignment(checkpoint, backbone, data, trainer)
    else:
        assert source is not None
        with isolate_rng(), phase("alignment"):
            alignment = _learned_alignment(cfg, backbone, data, trainer, source)
    if trainer.is_global_zero:
        folder = Path(cfg.paths.output_dir)
        write_alignment(folder / ALIGNMENT, backbone.model, alignment)
        if alignment.steps:
            write_text(folder / ALIGNMENT_LOG, csv_text([Step._fields, *alignment.steps]))
    return alignment


def _check_needs_no_source(cfg: DictConfig) -> None:
    """Raise ValueError where there are no source data, and stage 0 or 1 needs some."""
    if cfg.align.transport is not None or cfg.align.labels is not None:
        raise ValueError(
            f"align={cfg.align.name} compares with the data that the model was pretrained on, and there is no "
            "prerequisite; name the data as data@align.source=, or choose align=none"
        )
    if cfg.align.recalibrate.penalty:
        raise ValueError(
            "align.recalibrate.penalty must be 0 where there are no source data, whose predictor is recalibrated; name "
            "the data as data@align.source="
        )
    print_rank_zero("stage 1: nothing is measured, because neither align.source nor a prerequisite gives source data")


def _source(cfg: DictConfig, backbone: Backbone, trainer: pl.Trainer) -> Source:
    """The source modality, read by the model as it is before it gets another embedder."""
    settings = cfg.align
    if settings.source is None:
        data = build_data(compose_prerequisite(cfg), backbone)
    else:
        data = make_data(without_mix(cfg, SOURCE), SOURCE, backbone, evaluates=False)
    if not isinstance(data, ClipDataModule):
        raise ValueError(f"{SOURCE} must be images and captions, found a {type(data).__name__}")
    pixels = (3, backbone.spec.image_size, backbone.spec.image_size)
    if data.sample_shape != pixels:
        raise ValueError(f"{SOURCE}: samples must have the shape {pixels}, found {data.sample_shape}; choose images")
    if trainer.local_rank == 0:
        data.prepare_data()
    make_head = make(cfg, "align.source_head.module")
    device = trainer.strategy.root_device
    print_rank_zero(f"stage 1: encoding up to {settings.source_samples:,} samples of the source modality")
    was_training = backbone.model.training
    backbone.model.eval()
    with setting("align"):
        source = read_source(
            *(backbone.model, data, make_head, settings.space, settings.source_samples, cfg.seed, device),
            recalibration=_recalibration(cfg),
            batch=settings.samples,
        )
    backbone.model.train(was_training)
    if source.slopes is not None:
        before, after = source.slopes
        print_rank_zero(
            f"stage 0: accuracy of the source predictor {before.accuracy:.1%}, then {after.accuracy:.1%}; mean slope "
            f"{before.slope:.2f}, then {after.slope:.2f}; above tau {before.steep:.0%}, then {after.steep:.0%}; "
            f"Lipschitz constant {before.lipschitz:.2f}, then {after.lipschitz:.2f}"
        )
    return source


def _recalibration(cfg: DictConfig) -> Recalibration | None:
    settings = cfg.align.recalibrate
    if not settings.penalty:
        return None
    if cfg.align.source_head.name == "zero_shot":
        raise ValueError(
            "align.recalibrate.penalty must be 0 for the zero-shot head, which is not trained; choose "
            "head@align.source_head=probe"
        )
    return Recalibration(settings.penalty, settings.tau, settings.steps, settings.lr)


def _learned_alignment(
    cfg: DictConfig, backbone: Backbone, data: ClipDataModule, trainer: pl.Trainer, source: Source
) -> Alignment:
    settings = cfg.align
    began = time.perf_counter()
    distance, label_term = (
        None if settings[key] is None else make(cfg, f"align.{key}") for key in ("transport", "labels")
    )
    with setting("align"):
        objective = Objective(distance, label_term, settings.weight, settings.schedule)
        alignment = align(
            *(backbone.model, data, source, objective, settings.steps, settings.samples, settings.lr, cfg.seed),
            clusters=settings.pseudo_labels,
        )
    seconds = time.perf_counter() - began
    about = "nothing is learned" if objective.is_empty else f"{counted(settings.steps, 'step')}, {seconds:.1f} s"
    if trainer.is_global_zero:
        console.print(_table(alignment, f"stage 1, align={settings.name}: {about}"))
    classes, source_classes = len(alignment.transported.transition), source.head.out_features
    if alignment.transported.values is not None:
        print_rank_zero(
            f"stage 1: as target classes, these measurements take {classes} clusters of the training values (k-means)"
        )
    if not objective.is_empty and alignment.after.has_collapsed(classes, source_classes):
        print_rank_zero(
            f"warning: stage 1 has collapsed (H(Z) is {alignment.after.entropy:.2f} nats): most samples are taken for "
            f"few of the {source_classes} source classes; choose align=fa_mi, or another align.weight"
        )
    return alignment


def _saved_alignment(checkpoint: Path, backbone: Backbone, data: ClipDataModule, trainer: pl.Trainer) -> Alignment:
    """What stage 1 of the run has learned whose checkpoint this is."""
    with setting("resume"):
        path, outputs = checkpoint.parent.parent / ALIGNMENT, data.context().get("outputs")
        alignment = read_alignment(path, backbone.model, len(data.classnames), outputs)
    alignment.transported.to(trainer.strategy.root_device)
    return alignment


def _table(alignment: Alignment, title: str) -> Table:
    measured = alignment_tables(alignment_results(alignment)["alignment"])[-1]
    about = f"L, the Lipschitz constant of the source predictor, is {alignment.lipschitz:.3f}"
    table = Table("", "before", "after", title=title, title_justify="left", caption=about, caption_justify="left")
    for row in measured.rows:
        table.add_row(*row)
    return table


def alignment_results(alignment: Alignment | None) -> Mapping[str, Any]:
    """Entries of results.json about stages 0 and 1."""
    if alignment is None:
        return {}
    entries: dict[str, Any] = {
        "before": alignment.before._asdict(),
        "after": alignment.after._asdict(),
        "lipschitz": alignment.lipschitz,
    }
    if alignment.slopes is not None:
        before, after = alignment.slopes
        entries["recalibration"] = {"before": before._asdict(), "after": after._asdict()}
    return {"alignment": entries}
