"""Learning-rate schedules, stepped once per optimizer step."""

from __future__ import annotations

import math
import warnings

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tracer_lightning.functional.wording import counted


def warmup_cosine(
    optimizer: Optimizer, total_steps: int, warmup_steps: int | None, warmup_ratio: float | None = None
) -> LambdaLR:
    """Linear warmup to the optimizer's learning rate, then half a cosine to zero at ``total_steps``.

    Args:
        optimizer: optimizer whose learning rates are the peak.
        total_steps: number of optimizer steps of the run.
        warmup_steps: number of warmup steps; step k (from 0) runs at (k + 1) / warmup_steps of the peak. None where
            ``warmup_ratio`` is given.
        warmup_ratio: number of warmup steps as a fraction of ``total_steps``, rounded up.
    """
    if (warmup_steps is None) == (warmup_ratio is None):
        raise ValueError(
            f"either warmup_steps or warmup_ratio must be None, and the other one given, found {warmup_steps} and "
            f"{warmup_ratio}"
        )
    if warmup_ratio is not None:
        if not 0 <= warmup_ratio < 1:
            raise ValueError(f"warmup_ratio must be >= 0 and < 1, found {warmup_ratio}")
        warmup_steps = math.ceil(warmup_ratio * total_steps)
    assert warmup_steps is not None
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps must be a whole number >= 0, found {warmup_steps}")
    if warmup_steps >= total_steps:
        warnings.warn(
            f"warmup_steps ({warmup_steps}) is not less than the {counted(total_steps, 'step')} of the run: the "
            "learning rate does not decay from its peak or does not reach it; choose fewer warmup_steps",
            stacklevel=2,
        )

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """Constant learning rate of the optimizer."""
    del total_steps
    return LambdaLR(optimizer, lambda step: 1.0)
