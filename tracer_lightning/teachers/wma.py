"""Weighted moving average, the teacher of TRACER."""

from __future__ import annotations

from typing import Any

from torch import nn

from tracer_lightning.kernels import Kernel, weight_at
from tracer_lightning.teachers.averaged import AveragedTeacher


class WMATeacher(AveragedTeacher):
    """Weighted moving average of the student's whole trajectory (TRACER, Definition 3.3 and eq. 15).

    At optimizer step k of T, alpha_k = kernel((k + 0.5) / (T + 1)); after the updates at steps t_1 < t_2 < ..., the
    teacher is the mean of theta_0 and the students at these steps, weighted by alpha. theta_0 has the weight alpha_0;
    Algorithm 1 of the paper starts the sum at zero and so discards the pretrained weights at the first step.

    This class computes the weights; :meth:`AveragedTeacher.update` averages.

    If all weights so far are 0, the teacher stays theta_0; the first positive weight then makes it the student of that
    step, as theta_0 has the weight 0.

    Args:
        student: the module to average.
        kernel: function from progress in (0, 1) to a weight, a finite number >= 0.
        total_steps: number T of optimizer steps, also if updates are less frequent.
        clock_counts_updates: let k count updates, as the official code does. With an update every N steps the kernel is
            then evaluated on the first 1/N of its range only.
        averaging: options of :class:`AveragedTeacher`.
    """

    def __init__(
        self,
        student: nn.Module,
        kernel: Kernel,
        total_steps: int | None = None,
        clock_counts_updates: bool = False,
        **averaging: Any,
    ) -> None:
        super().__init__(student, total_steps, **averaging)
        if not callable(kernel):
            raise ValueError(f"kernel must be a function of progress, found {kernel!r}")
        self.kernel = kernel
        self.clock_counts_updates = clock_counts_updates
        self.weight_sum: float | None = None

    def begin(self, student: nn.Module, total_steps: int) -> None:
        """Start a run, as in :class:`AveragedTeacher`; an invalid kernel fails here and not during training."""
        super().begin(student, total_steps)
        weights = [self._kernel_weight(step, total_steps) for step in range(total_steps + 1)]
        if sum(weights) == float("inf"):
            raise ValueError(f"kernel must give weights whose sum over {total_steps} steps is finite")

    def next_weight(self, step: int, total_steps: int) -> float:
        """Weight of the student, divided by the sum of all weights so far, to which it is added."""
        if self.updates == 1:
            self.weight_sum = self._kernel_weight(0, total_steps)
        weight = self._kernel_weight(self.updates if self.clock_counts_updates else step, total_steps)
        assert self.weight_sum is not None
        self.weight_sum += weight
        return weight / self.weight_sum if self.weight_sum > 0 else 0.0

    def _kernel_weight(self, step: int, total_steps: int) -> float:
        return weight_at(self.kernel, step, total_steps)

    def _clock(self) -> dict[str, Any]:
        return super()._clock() | {"weight_sum": self.weight_sum}

    def _set_clock(self, clock: dict[str, Any]) -> None:
        super()._set_clock(clock)
        self.weight_sum = clock["weight_sum"]
