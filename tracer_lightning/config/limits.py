"""Limits of the trainer, such as ``max_steps=0``, that leave nothing to train or to test."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

TEST_LIMITS = {"limit_test_batches": "tests nothing; give at least 1, or null for all batches"}
"""Consequences of a limit of 0 where models are evaluated, by the name of the limit."""
TRAIN_LIMITS = {
    **TEST_LIMITS,
    **dict.fromkeys(("max_epochs", "max_steps"), "trains nothing; give at least 1, or -1 for no limit"),
    "max_time": "trains nothing; give at least a minute, 00:00:01:00, or leave it out",
    "limit_train_batches": "trains nothing; give at least 1, or null for all batches",
    "limit_predict_batches": "extracts no features; give at least 1, or leave it out",
    "val_check_interval": "never validates; give a number of batches or, as in 0.5, a share of an epoch",
}
"""Consequences of a limit of 0 where models are trained, by the name of the limit."""
SHARE = re.compile(r"You requested to check (\S+) of the `(\w+)_dataloader` but \S+ \* (\d+) < 1")
"""Lightning's message about a share of the batches that is less than one batch; its exception has no attributes."""
DATA = {"train": "training", "val": "validation", "test": "test"}


def check_limits(trainer: Any, limits: Mapping[str, str]) -> None:
    """Raise ValueError for a limit of zero.

    Args:
        trainer: settings of the trainer.
        limits: name of each limit to the consequence of zero.
    """
    for name, consequence in limits.items():
        if name in trainer and _is_zero(trainer[name]):
            raise ValueError(f"trainer.{name}={trainer[name]} {consequence}")


def check_end(trainer: Any) -> None:
    """Raise ValueError where training would never end, or only after Lightning's default of 1,000 epochs.

    Args:
        trainer: settings of the trainer.
    """
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps")
    if epochs in (None, -1) and steps in (None, -1):
        raise ValueError(
            f"trainer.max_epochs={'null' if epochs is None else epochs} without trainer.max_steps gives no number of "
            "optimizer steps, which the learning rate and the teacher's clock need; set one of them"
        )


def _is_zero(value: Any) -> bool:
    """Whether a limit is 0, or a duration of zero."""
    if isinstance(value, Mapping):
        return not any(value.values())
    if isinstance(value, str):
        return bool(value) and not value.strip("0:")
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def name_limit(error: Exception, cfg: DictConfig) -> Exception:
    """The error; one that names the setting where Lightning complains of a share that is less than one batch."""
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
