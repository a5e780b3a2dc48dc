"""Detection of NaN and infinite losses and weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tracer_lightning.callbacks.run_checkpoint import RunCheckpoint
from tracer_lightning.teachers.averaged import AVERAGED_BUFFERS

Action = Literal["stop", "skip"]
TOTAL = "total"


class NonFiniteError(ValueError):
    """Raised for a NaN or infinite loss or weight."""


class NonFinite(pl.Callback):
    """Stop the run, or skip the step, when the loss is NaN or infinite; never save NaN or infinite weights.

    Gradients are not checked.

    The first step with non-finite losses is recorded on the device. With ``stop``, it is checked when checkpoints are
    written and at logging steps, where the host waits for the device anyway (on CPU, at every step). The run may
    therefore end up to ``trainer.log_every_n_steps`` steps later, but the error names the first bad step. Weights are
    checked whenever a checkpoint is saved, so that a good one is never replaced by a bad one.

    With ``skip``, every step waits for the device. A step with a non-finite loss drops its gradients: weights,
    BatchNorm statistics, the optimizer's state, the teacher and its step count stay unchanged; the learning rate
    schedule advances.

    Args:
        action: reaction to a non-finite loss.
        max_skipped: maximum number of skipped steps, including those before a resumption.
    """

    def __init__(self, action: Action, max_skipped: int) -> None:
        if action not in get_args(Action):
            raise ValueError(f"action must be one of {', '.join(get_args(Action))}, got {action!r}")
        if isinstance(max_skipped, bool) or not isinstance(max_skipped, int) or max_skipped < 0:
            raise ValueError(f"max_skipped must be an integer >= 0, got {max_skipped!r}")
        self.action, self.max_skipped = action, max_skipped
        self.skipped = 0
        self._losses: list[Tensor] = []
        self._before: list[Tensor] = []
        self._skip: int | None = None
        self._step = 0
        self._names: tuple[str, ...] = ()
        self._bad: Tensor | None = None
        """(1 + losses,) integers: the first step with a non-finite loss, and flags of the non-finite losses."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Reset the record of losses."""
        self._bad, self._losses, self._skip = None, [], None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor) -> None:
        """Collect the losses of the next optimizer step."""
        if self.action == "skip":
            self._losses.append(loss.detach())

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Copy the BatchNorm statistics, which forward passes change, at the first batch of a step."""
        self._step = trainer.global_step + 1
        if self.action == "skip" and not self._losses:
            self._before = [statistic.clone() for statistic in _statistics(pl_module)]

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Skip a step with a non-finite loss: an optimizer does not update parameters without gradients."""
        losses, self._losses = self._losses, []
        if losses and not trainer.strategy.reduce_boolean_decision(_finite(losses), all=True):
            optimizer.zero_grad(set_to_none=True)
            for statistic, before in zip(_statistics(pl_module), self._before, strict=True):
                statistic.copy_(before)
            self.skipped += 1
            self._skip = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record non-finite losses, and check them where this needs no extra synchronisation."""
        if not isinstance(outputs, Mapping) or "loss" not in outputs:
            return
        self._record(outputs)
        if self._skip is not None:
            self._warn_skipped(trainer)
        elif self.action == "stop" and (pl_module.device.type == "cpu" or _logs(trainer)):
            self._check_losses(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Check the losses at the end of the epoch."""
        self._check_losses(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Check losses and weights before they are saved.

        Raises:
            NonFiniteError: names the step, the non-finite terms where known, and the last good checkpoint.
        """
        self._check_losses(trainer)
        tensors = (*pl_module.parameters(), *_statistics(pl_module))
        if not trainer.strategy.reduce_boolean_decision(_finite(tensors), all=True):
            raise self._error(trainer, f"step {trainer.global_step}: the weights are not finite")

    def state_dict(self) -> dict[str, Any]:
        """Number of skipped steps."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of skipped steps."""
        self.skipped = state_dict["skipped"]

    def _record(self, outputs: Mapping[str, Any]) -> None:
        values = {TOTAL: outputs["loss"], **outputs.get("terms", {})}
        self._names = tuple(values)
        bad = torch.stack([~value.detach().isfinite().all() for value in values.values()]).long()
        record = torch.cat([(bad.any() * self._step).view(1), bad])
        self._bad = record if self._bad is None else torch.where(self._bad[0] > 0, self._bad, record)

    def _pop_bad_step(self) -> tuple[int, str]:
        """Return and reset the first bad step, 0 for none, and its terms; this waits for the device."""
        step, *bad = [0] if self._bad is None else self._bad.tolist()
        self._bad = None
        names = [name for name, is_bad in zip(self._names, bad, strict=False) if is_bad and name != TOTAL]
        return step, ", ".join(names) or TOTAL

    def _check_losses(self, trainer: pl.Trainer) -> None:
        step, names = self._pop_bad_step()
        if step:
            raise self._error(trainer, f"step {step}: the loss is not finite ({names})")

    def _warn_skipped(self, trainer: pl.Trainer) -> None:
        self._skip = None
        step, names = self._pop_bad_step()
        if self.skipped > self.max_skipped:
            raise self._error(
                trainer, f"step {step}: the loss is not finite ({names}), after {self.max_skipped} skipped steps"
            )
        warnings.warn(
            f"step {step}: the loss is not finite ({names}); skipped, {self.skipped} of at most {self.max_skipped}",
            stacklevel=2,
        )

    @staticmethod
    def _error(trainer: pl.Trainer, problem: str) -> NonFiniteError:
        saved = next((c.last_good for c in trainer.checkpoint_callbacks if isinstance(c, RunCheckpoint)), "")
        return NonFiniteError(
            f"{problem}; {saved}; lower the learning rate, or resume with action='skip' of the NonFinite callback"
        )


def _logs(trainer: pl.Trainer) -> bool:
    return bool(trainer.global_step % trainer.log_every_n_steps == 0)  # type: ignore[attr-defined]


def _statistics(module: nn.Module) -> list[Tensor]:
    """Return BatchNorm's running means and variances, which forward passes change."""
    return [buffer for name, buffer in module.named_buffers() if name.endswith(AVERAGED_BUFFERS)]


def _finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all tensors are finite; this waits for the device once."""
    local = (tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors)
    return bool(torch.stack([tensor.detach().isfinite().all() for tensor in local]).all())
