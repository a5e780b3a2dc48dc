"""Number of optimizer steps of a run, on which schedules and teachers depend."""

from __future__ import annotations

from typing import Any


def check_horizon(planned: int, saved: int | None) -> None:
    """Raise ValueError unless a run planned for ``saved`` optimizer steps continues with as many, ``planned``."""
    if planned != saved:
        raise ValueError(
            f"this run has {planned} optimizer steps and the checkpoint was made for {saved}; keep max_epochs, "
            "max_steps, accumulate_grad_batches and batch_size as they were, or start a new run from the checkpoint's "
            "weights"
        )


def planned_steps(trainer: Any) -> int:
    """Number of optimizer steps that a Lightning trainer will take; ValueError if it is unknown."""
    total = trainer.estimated_stepping_batches
    if not 0 < total < float("inf"):
        raise ValueError(
            f"the number of optimizer steps is unknown ({total}), and the learning rate and the teacher's clock need "
            "it; set max_epochs or max_steps of the trainer and, for data without a length, limit_train_batches to an "
            "integer"
        )
    return int(total)
