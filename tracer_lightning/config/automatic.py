"""Settings that are ``auto``: replaced by numbers, which the log states and checkpoints record."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tracer_lightning.config.build import build_training_data, devices_of
from tracer_lightning.data import ClipDataModule
from tracer_lightning.engine.batch_size import SHARE, choose_batch_size
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.functional.wording import counted
from tracer_lightning.models import Backbone

AUTO = "auto"
BATCH, EPOCHS = "data.batch_size", "trainer.max_epochs"
IMAGES_SHOWN = 50_000
"""Number of images that a run sees in all, repetitions included, where the limits of epochs allow it."""
FEWEST, MOST = 5, 30
"""Limits of the number of epochs."""


def choose_automatic(cfg: DictConfig, backbone: Backbone, saved: Mapping[str, Any] | None = None) -> None:
    """Choose the batch size by memory and the number of epochs by that of training images, where they are ``auto``.

    Args:
        cfg: composed configuration, changed in place.
        backbone: model to train.
        saved: settings of the checkpoint that is continued, which are kept.

    Raises:
        ValueError: the training data are not images with captions.
    """
    names = [name for name in (BATCH, EPOCHS) if OmegaConf.select(cfg, name, throw_on_missing=False) == AUTO]
    if saved is not None:
        for group, key in (name.split(".") for name in names):
            settings = saved.get(group)
            if isinstance(settings, Mapping) and key in settings:
                cfg[group][key] = settings[key]
        return
    if not names:
        return
    provisional = _provisional(cfg, names)
    images = _training_images(provisional, backbone, names)
    if BATCH in names:
        devices, machines = devices_of(provisional)
        processes = devices * machines
        choice = choose_batch_size(
            backbone.model, backbone.spec, cfg.trainer.accelerator, images, processes=processes, machines=machines
        )
        OmegaConf.update(cfg, BATCH, choice.size)
        step = choice.weights + choice.size // processes * choice.image
        limit = "" if choice.memory is None else f"; {SHARE:.0%} of {_megabytes(choice.memory)} may be used"
        where = "" if processes == 1 else f" in each of {processes} processes"
        print_rank_zero(
            f"{BATCH}={choice.size}: a step needs about {_megabytes(step)}{where}, "
            f"{_megabytes(choice.image)} of it for each image{limit}"
        )
    if EPOCHS in names:
        epochs = min(max(round(IMAGES_SHOWN / images), FEWEST), MOST)
        OmegaConf.update(cfg, EPOCHS, epochs)
        print_rank_zero(
            f"{EPOCHS}={epochs} for {counted(images, 'training image')}: as many as show {IMAGES_SHOWN:,} images, "
            f"at least {FEWEST} and at most {MOST}"
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e7 else f"{count / 1e6:.1f} MB"


def _provisional(cfg: DictConfig, names: list[str]) -> DictConfig:
    """A copy in which data and trainer can be built: the settings of these names are 1."""
    provisional = deepcopy(cfg)
    for name in names:
        OmegaConf.update(provisional, name, 1)
    return provisional


def _training_images(cfg: DictConfig, backbone: Backbone, names: list[str]) -> int:
    """Number of training images, without those that are held out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run's own data module warns again
        data = build_training_data(cfg, backbone)
        if not isinstance(data, ClipDataModule):
            raise ValueError(f"{names[0]}={AUTO} is for images with captions; give a number")
        data.prepare_data()
        data.setup("fit")
    return len(data.source(None))
