"""The length of a run."""

from __future__ import annotations

from typing import Any


def planned_steps(trainer: Any) -> int:
    """Optimizer steps that a Lightning trainer will take; ValueError where it can't know."""
    total = trainer.estimated_stepping_batches
    if not 0 < total < float("inf"):
        raise ValueError(
            f"the number of optimizer steps is unknown ({total}), and the learning rate and the teacher's clock need "
            "it; set trainer.max_epochs or trainer.max_steps and, for data without a length, a whole number as "
            "trainer.limit_train_batches"
        )
    return int(total)
