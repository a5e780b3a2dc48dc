"""Base class of teachers that average the student, usable with any module in any Lightning project."""

from __future__ import annotations

import copy
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tracer_lightning.functional.averaging import compensated_lerp_, lerp_
from tracer_lightning.functional.distributed import shard_like
from tracer_lightning.functional.lora_merge import PARTS, merge, merged_trained, merged_values, part_names
from tracer_lightning.functional.steps import check_horizon

LoraSpace = Literal["factors", "merged"]
Precision = Literal["same", "bf16"]

AVERAGED_BUFFERS = ("running_mean", "running_var")
"""Suffixes of normalisation statistics, which are averaged like weights; all other buffers are copied."""


def _local(tensor: Tensor) -> Tensor:
    """Local shard of a tensor in sharded training, else the tensor, detached."""
    tensor = tensor.detach()
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


class AveragedTeacher(nn.Module):
    """Moving average of a student, including theta_0; subclasses define the weights.

    Frozen parameters of the student are shared, not copied. Trained parameters are matched by name and averaged in fp32
    or wider; those with fewer than two dimensions (large values, small displacements) are averaged with compensation.
    The teacher is always in eval mode and never tracks gradients.

    The clock (``step``, ``updates``, ``total_steps``) consists of Python numbers that are saved with the state dict, so
    reading it does not synchronise with the device.

    Args:
        student: the module to average, with untrained parameters already frozen.
        total_steps: number T of optimizer steps of the run; None if it is given to :meth:`begin`.
        lora_space: for weights with a low-rank update, average the ``factors`` A and B (which differs from averaging
            their product) or the ``merged`` weights, of which the teacher then has copies.
        precision: precision of the forward pass: the ``same`` as the caller's, or ``bf16``, which is faster if training
            is in fp32. It does not affect the average.
        average_statistics: average the running statistics of normalisation layers; else they stay those of theta_0, as
            in the released code.
    """

    def __init__(
        self,
        student: nn.Module,
        total_steps: int | None = None,
        lora_space: LoraSpace = "factors",
        precision: Precision = "same",
        average_statistics: bool = True,
    ) -> None:
        super().__init__()
        parts = part_names(student)
        if lora_space not in get_args(LoraSpace):
            raise ValueError(f"lora_space must be one of {', '.join(get_args(LoraSpace))}, found {lora_space!r}")
        if precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, found {precision!r}")
        self.precision, self.average_statistics = precision, average_statistics
        if lora_space == "merged" and not parts:
            warnings.warn("lora_space 'merged' is ignored: no weight has a low-rank update", stacklevel=2)
        self.merged = lora_space == "merged" and bool(parts)
        shared = {id(p): p for p in student.parameters() if not p.requires_grad}
        self.module = copy.deepcopy(student, shared)
        if self.merged:
            merge(self.module)
        self.module.requires_grad_(False).eval()
        self.trained = self._trained(student)
        for submodule in self.module.modules():
            if hasattr(submodule, "grad_checkpointing"):
                setattr(submodule, "grad_checkpointing", False)  # noqa: B010
        for name in self.trained:
            average = self.module.get_parameter(name)
            average.data = average.data.to(torch.promote_types(average.dtype, torch.float32))
        self._plain = tuple(name for name in self.trained if self.module.get_parameter(name).ndim >= 2)
        self._compensated = tuple(name for name in self.trained if self.module.get_parameter(name).ndim < 2)
        for position, name in enumerate(self._compensated):
            self.register_buffer(f"compensation_{position}", torch.zeros_like(self.module.get_parameter(name)))
        self.step = 0
        self.updates = 0
        self.total_steps = None if total_steps is None else self._check_total(total_steps)

    # -- the run ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def begin(self, student: nn.Module, total_steps: int) -> None:
        """Start a run of ``total_steps`` optimizer steps, with the current student as theta_0 and the clock at zero."""
        trained = self._trained(student)
        if trained != self.trained:
            changed = sorted(set(trained) ^ set(self.trained))[0]
            raise ValueError(f"{changed} was frozen or unfrozen after the teacher was built; freeze parameters before")
        self.total_steps = self._check_total(total_steps)
        self.step = 0
        self.updates = 0
        state = student.state_dict()
        if self.merged:
            state = {name: value for name, value in state.items() if PARTS not in name.split(".")}
            state |= self._values(student)
        self.module.load_state_dict(state)
        for position in range(len(self._compensated)):
            getattr(self, f"compensation_{position}").zero_()

    def resume(self, total_steps: int) -> None:
        """Resume a restored run; ValueError if it was planned for another number of steps."""
        check_horizon(total_steps, self.total_steps)

    @torch.no_grad()
    def update(self, student: nn.Module, step: int | None = None) -> None:
        """Update the average with the student after optimizer step ``step``.

        Args:
            student: the module given at construction, or one with the same parameters.
            step: number of optimizer steps so far, from 1, larger than at the last update; None for the next step.
        """
        step = self.step + 1 if step is None else step
        if step <= self.step:
            raise ValueError(f"step must be larger than {self.step}, the step of the last update, found {step}")
        if self.total_steps is None:
            raise ValueError("total_steps is unknown: pass it to the constructor or call begin(student, total_steps)")
        self.step = step
        self.updates += 1
        weight = self.next_weight(min(step, self.total_steps), self.total_steps)
        if weight > 0:
            self._average(student, weight)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the averaged module with the same arguments.

        Shared frozen weights that are narrower than the averages (training in true bf16) are widened.
        """
        widest = self._widest()
        with torch.no_grad(), self._in_precision():
            if widest is None:
                return self.module(*args, **kwargs)
            widened = {name: p.to(widest) for name, p in self.module.named_parameters()}
            return functional_call(self.module, widened, args, kwargs)

    @property
    def has_same_precision(self) -> bool:
        """Whether the forward pass has the precision of the student's, so that frozen layers return the same."""
        return self.precision == "same" and self._widest() is None

    def _in_precision(self) -> AbstractContextManager[None]:
        if self.precision == "same":
            return nullcontext()
        return torch.autocast(next(self.module.parameters()).device.type, torch.bfloat16)

    def _widest(self) -> torch.dtype | None:
        """Dtype to widen weights to; None if all have the same."""
        types = {p.dtype for p in self.module.parameters()}
        return max(types, key=lambda dtype: dtype.itemsize) if len(types) > 1 else None

    def shard_compensations(self) -> None:
        """Shard the compensations like their averages, after the averaged module was sharded."""
        for position, name in enumerate(self._compensated):
            buffer = f"compensation_{position}"
            setattr(self, buffer, shard_like(getattr(self, buffer), self.module.get_parameter(name)))

    # -- for subclasses ---------------------------------------------------------------------------------------------

    def next_weight(self, step: int, total_steps: int) -> float:
        """Share of the student at ``step`` in the new average, in [0, 1]."""
        raise NotImplementedError

    def _clock(self) -> dict[str, Any]:
        """State other than tensors that changes from step to step."""
        return {"step": self.step, "updates": self.updates, "total_steps": self.total_steps}

    def _set_clock(self, clock: dict[str, Any]) -> None:
        self.step, self.updates, self.total_steps = clock["step"], clock["updates"], clock["total_steps"]

    # -- averaging --------------------------------------------------------------------------------------------------

    def _trained(self, student: nn.Module) -> tuple[str, ...]:
        if self.merged:
            return merged_trained(student)
        return tuple(name for name, p in student.named_parameters() if p.requires_grad)

    def _values(self, student: nn.Module) -> dict[str, Tensor]:
        return merged_values(student) if self.merged else dict(student.named_parameters())

    def _average(self, student: nn.Module, weight: float) -> None:
        averages = dict(self.module.named_parameters())
        values = self._values(student)
        lerp_([_local(averages[name]) for name in self._plain], [_local(values[name]) for name in self._plain], weight)
        compensated_lerp_(
            [_local(averages[name]) for name in self._compensated],
            [_local(getattr(self, f"compensation_{i}")) for i in range(len(self._compensated))],
            [_local(values[name]) for name in self._compensated],
            weight,
        )
        self._average_buffers(student, weight)

    def _average_buffers(self, student: nn.Module, weight: float) -> None:
        current = dict(student.named_buffers())
        for name, buffer in self.module.named_buffers():
            if not self.average_statistics and name.endswith((*AVERAGED_BUFFERS, "num_batches_tracked")):
                continue
            if name.endswith(AVERAGED_BUFFERS):
                buffer.lerp_(current[name].to(buffer.dtype), weight)
            else:  # counters and masks: averaging -inf with itself gives NaN
                buffer.copy_(current[name])

    # -- nn.Module --------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> AveragedTeacher:
        """Stay in eval mode, whatever the mode of the student."""
        del mode
        super().train(False)
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> AveragedTeacher:
        """Follow the student to another device, but never to a narrower dtype."""

        def keep_width(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            narrower = tensor.is_floating_point() and moved.dtype.itemsize < tensor.dtype.itemsize
            return tensor.to(moved.device) if narrower else moved

        super()._apply(keep_width, recurse)  # type: ignore[no-untyped-call]
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """Return the clock for the state dict."""
        return self._clock()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the clock; a placeholder from torch's sharded loading is ignored."""
        if isinstance(state, dict):
            self._set_clock(state)

    @staticmethod
    def _check_total(total_steps: int) -> int:
        if isinstance(total_steps, bool) or not isinstance(total_steps, int) or total_steps < 1:
            raise ValueError(f"total_steps must be a whole number >= 1, found {total_steps!r}")
        return total_steps
