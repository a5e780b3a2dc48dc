"""Exponential moving average as teacher."""

from __future__ import annotations

from typing import Any

from torch import nn

from tracer_lightning.teachers.averaged import AveragedTeacher


class EMATeacher(AveragedTeacher):
    """teacher <- m teacher + (1 - m) student, with constant or ramped momentum m.

    CaRot (Oh et al., 2024) ramps m linearly from 0.05 to 0.9 over the first 20% of the steps, with an update every
    500 steps (the interval is set in :class:`tracer_lightning.callbacks.TeacherUpdate`).

    Args:
        student: the module to average.
        momentum: momentum m, in [0, 1].
        initial_momentum: momentum at step 0, which increases to ``momentum``; None for a constant momentum.
        ramp_fraction: share of the steps in which the momentum increases, in (0, 1].
        ramp_from_zero: start the ramp's clock at 0 in the first optimizer step, as the released code does, not at 1.
        total_steps: number T of optimizer steps.
        averaging: options of :class:`AveragedTeacher`.
    """

    def __init__(
        self,
        student: nn.Module,
        momentum: float = 0.9,
        initial_momentum: float | None = None,
        ramp_fraction: float = 0.2,
        ramp_from_zero: bool = False,
        total_steps: int | None = None,
        **averaging: Any,
    ) -> None:
        super().__init__(student, total_steps, **averaging)
        for name, value in (("momentum", momentum), ("initial_momentum", initial_momentum)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], found {value}")
        if not 0.0 < ramp_fraction <= 1.0:
            raise ValueError(f"ramp_fraction must lie in (0, 1], found {ramp_fraction}")
        self.momentum = momentum
        self.initial_momentum = momentum if initial_momentum is None else initial_momentum
        self.ramp_fraction, self.ramp_from_zero = ramp_fraction, ramp_from_zero

    def next_weight(self, step: int, total_steps: int) -> float:
        """1 minus the momentum at ``step``."""
        ramp = min(1.0, (step - self.ramp_from_zero) / (self.ramp_fraction * total_steps))
        return 1.0 - (self.initial_momentum + (self.momentum - self.initial_momentum) * ramp)
