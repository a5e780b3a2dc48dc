"""Outputs of a finished model for images without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from torch import Tensor, nn

from tracer_lightning.commands.runner import Runner, require_clip
from tracer_lightning.config.errors import setting
from tracer_lightning.data.images.unlabelled import FileSource, UnlabelledDataModule
from tracer_lightning.data.shards.source import IndexedSource
from tracer_lightning.data.shards.unlabelled import open_images
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.samples import unreadable_samples
from tracer_lightning.evaluation.outputs import OutputModule, Outputs
from tracer_lightning.models import Backbone
from tracer_lightning.types import ClassTexts

NAMED = 10
"""Greatest number of unreadable images that are named."""


def build_unlabelled(
    cfg: DictConfig, backbone: Backbone, texts: ClassTexts | None
) -> tuple[UnlabelledDataModule, FileSource | IndexedSource]:
    """The images that ``images`` names, and their data module for the backbone's inputs."""
    require_clip([backbone], "images")
    if cfg.embedder:
        raise ValueError("images: the model has an embedder of another modality, and takes no images")
    with setting("images"):
        source = open_images(cfg.images, Path(cfg.paths.cache).expanduser() / "indices")
    data = UnlabelledDataModule(
        backbone.spec,
        source,
        texts,
        eval_decoder=cfg.eval_decoder,
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        seed=cfg.seed,
    )
    return data, source


def image_outputs(
    runner: Runner,
    model: nn.Module,
    data: UnlabelledDataModule,
    names: Sequence[str],
    start: Callable[[Any], Callable[[Tensor], Outputs]],
) -> dict[str, np.ndarray]:
    """Outputs of the readable images, as :class:`OutputModule` collects them; the others are named."""
    module = OutputModule(model, names, start)
    runner.test(module, data)
    unreadable = unreadable_samples(data)
    for location in unreadable[:NAMED]:
        print_rank_zero(f"can't be read: {location}")
    if len(unreadable) > NAMED:
        print_rank_zero(f"can't be read: {len(unreadable) - NAMED:,} more images")
    return module.outputs
