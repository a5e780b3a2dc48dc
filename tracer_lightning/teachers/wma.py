"""The teacher of TRACER."""

from __future__ import annotations

from typing import Any

from torch import nn

from tracer_lightning.kernels import Kernel
from tracer_lightning.teachers.base import AveragedTeacher, LoraSpace


class WMATeacher(AveragedTeacher):
    """Weighted moving average of the student's whole trajectory (TRACER, Definition 3.3 and eq. 15).

    At optimizer step k of T, alpha_k = kernel((k + 0.5) / (T + 1)); after the updates at steps t_1 < t_2 < ..., the
    teacher is the mean of theta_0 and the students seen, weighted by alpha. theta_0 counts with alpha_0: Algorithm 1 of
    the paper starts the sum at zero and so discards the pretrained weights at the first step.

    Args:
        student: the module to average.
        kernel: progress in (0, 1) to weight.
        total_steps: T, in optimizer steps, also where updates are rarer.
        clock_counts_updates: let k count updates, as the official code does. With an update every N steps the kernel
            then sees only the first 1/N of its range.
        lora_space: as for :class:`AveragedTeacher`.
    """

    def __init__(
        self,
        student: nn.Module,
        kernel: Kernel,
        total_steps: int | None = None,
        clock_counts_updates: bool = False,
        lora_space: LoraSpace = "factors",
    ) -> None:
        super().__init__(student, total_steps, lora_space)
        self.kernel = kernel
        self.clock_counts_updates = clock_counts_updates
        self.weight_sum: float | None = None

    def _next_weight(self, step: int, total_steps: int) -> float:
        if self.updates == 1:
            self.weight_sum = self._kernel_weight(0, total_steps)
        weight = self._kernel_weight(self.updates if self.clock_counts_updates else step, total_steps)
        assert self.weight_sum is not None
        self.weight_sum += weight
        return weight / self.weight_sum if self.weight_sum > 0 else 0.0

    def _kernel_weight(self, step: int, total_steps: int) -> float:
        weight = float(self.kernel((step + 0.5) / (total_steps + 1)))
        if not 0.0 <= weight < float("inf"):
            raise ValueError(f"a kernel must give finite weights >= 0, found {weight} at step {step} of {total_steps}")
        return weight

    def _clock(self) -> dict[str, Any]:
        return super()._clock() | {"weight_sum": self.weight_sum}

    def _set_clock(self, clock: dict[str, Any]) -> None:
        super()._set_clock(clock)
        self.weight_sum = clock["weight_sum"]
