"""Limits of the trainer that leave a run, or a part of it, with nothing to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

TEST_LIMITS = {"limit_test_batches": "tests nothing; give at least 1, or null for all batches"}
"""What a limit of 0 does, by its name, where models are evaluated."""
TRAIN_LIMITS = {
    **TEST_LIMITS,
    **dict.fromkeys(("max_epochs", "max_steps"), "trains nothing; give at least 1, or -1 for no limit"),
    "max_time": "trains nothing; give at least a minute, 00:00:01:00, or leave it out",
    "limit_train_batches": "trains nothing; give at least 1, or null for all batches",
    "limit_predict_batches": "extracts no features; give at least 1, or leave it out",
    "val_check_interval": "never validates; give a number of batches or, as in 0.5, a share of an epoch",
}
"""What a limit of 0 does, by its name, where models are trained."""
SHARE = re.compile(r"You requested to check (\S+) of the `(\w+)_dataloader` but \S+ \* (\d+) < 1")
"""What Lightning says of a share of the batches that is less than one of them."""
DATA = {"train": "training", "val": "validation", "test": "test"}


def check_limits(trainer: Any, limits: Mapping[str, str]) -> None:
    """Raise ValueError for a limit of nothing.

    Args:
        trainer: its settings.
        limits: name of each to what 0 does.
    """
    for name, consequence in limits.items():
        if name in trainer and _is_nothing(trainer[name]):
            raise ValueError(f"trainer.{name}={trainer[name]} {consequence}")


def _is_nothing(value: Any) -> bool:
    """Whether it is 0, or a time of no length."""
    if isinstance(value, Mapping):
        return not any(value.values())
    if isinstance(value, str):
        return bool(value) and not value.strip("0:")
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def of_limits(error: Exception, cfg: DictConfig) -> Exception:
    """The error or, of Lightning's about a share of the batches that is less than one, one that names the setting."""
    share = SHARE.search(str(error)) if isinstance(error, MisconfigurationException) else None
    if share is None:
        return error
    fraction, stage, count = share.groups()
    overfits = stage in ("train", "val") and OmegaConf.select(cfg, "trainer.overfit_batches")
    name = "overfit_batches" if overfits else f"limit_{stage}_batches"
    return ValueError(
        f"trainer.{name}={fraction} of {count} batches is less than one, for the {DATA.get(stage, stage)} data; give a "
        "whole number of batches"
    )
