"""Losses and weights that are no numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tracer_lightning.callbacks.run_checkpoint import RunCheckpoint
from tracer_lightning.teachers.base import AVERAGED_BUFFERS

Action = Literal["stop", "skip"]
TOTAL = "total"


class NonFiniteError(ValueError):
    """A loss or a weight is NaN or infinite."""


class NonFinite(pl.Callback):
    """End the run at a loss that is NaN or infinite, and never save weights that are.

    Which losses were not finite at which step is kept on the device. With ``stop`` it is looked at when checkpoints are
    written and at logging steps, when the host waits for the device anyway (on CPU, at every step), so that the run
    may be up to ``trainer.log_every_n_steps`` steps further when it ends; the step that is named is the first bad one.
    Weights are looked at whenever any checkpoint is made, so that a good one is never replaced by a bad one.

    With ``skip``, every step waits for the device. A step whose loss is not finite loses its gradients: weights,
    BatchNorm's statistics, the optimizer's state, the teacher and its clock stay as they are; the learning rate's
    schedule goes on.

    Args:
        action: what is done about a loss.
        max_skipped: steps of the run that may be skipped, continuations included.
    """

    def __init__(self, action: Action, max_skipped: int) -> None:
        if action not in get_args(Action):
            raise ValueError(f"action must be one of {', '.join(get_args(Action))}, found {action!r}")
        if isinstance(max_skipped, bool) or not isinstance(max_skipped, int) or max_skipped < 0:
            raise ValueError(f"max_skipped must be a whole number >= 0, found {max_skipped!r}")
        self.action, self.max_skipped = action, max_skipped
        self.skipped = 0
        self._losses: list[Tensor] = []
        self._before: list[Tensor] = []
        self._skip: int | None = None
        self._names: tuple[str, ...] = ()
        self._bad: Tensor | None = None
        """(1 + losses,) whole numbers: the first step at which a loss was not finite, and which of them were not."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Nothing has been seen yet."""
        self._bad, self._losses, self._skip = None, [], None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor) -> None:
        """Remember the losses that the next optimizer step is made of."""
        if self.action == "skip":
            self._losses.append(loss.detach())

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Remember what a forward pass changes, at the first batch of a step."""
        if self.action == "skip" and not self._losses:
            self._before = [statistic.clone() for statistic in _statistics(pl_module)]

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Skip the step, where that is wanted: an optimizer leaves alone what has no gradient."""
        losses, self._losses = self._losses, []
        if losses and not trainer.strategy.reduce_boolean_decision(_finite(losses), all=True):
            optimizer.zero_grad(set_to_none=True)
            for statistic, before in zip(_statistics(pl_module), self._before, strict=True):
                statistic.copy_(before)
            self.skipped += 1
            self._skip = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note what is not finite, and look at it when that costs nothing."""
        if not isinstance(outputs, Mapping) or "loss" not in outputs:
            return
        self._note(outputs, trainer.global_step)
        if self._skip is not None:
            self._tell_skipped(trainer)
        elif self.action == "stop" and (pl_module.device.type == "cpu" or _logs(trainer)):
            self._check_losses(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look before the epoch is over."""
        self._check_losses(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Refuse to save what is not finite.

        Raises:
            NonFiniteError: with the step, the terms where they show it, and the last good checkpoint.
        """
        self._check_losses(trainer)
        tensors = (*pl_module.parameters(), *_statistics(pl_module))
        if not trainer.strategy.reduce_boolean_decision(_finite(tensors), all=True):
            raise self._error(trainer, f"step {trainer.global_step}: the weights are not finite")

    def state_dict(self) -> dict[str, Any]:
        """How many steps were skipped."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = state_dict["skipped"]

    def _note(self, outputs: Mapping[str, Any], step: int) -> None:
        values = {TOTAL: outputs["loss"], **outputs.get("terms", {})}
        self._names = tuple(values)
        bad = torch.stack([~value.detach().isfinite().all() for value in values.values()]).long()
        found = torch.cat([(bad.any() * max(step, 1)).view(1), bad])
        self._bad = found if self._bad is None else torch.where(self._bad[0] > 0, self._bad, found)

    def _found(self) -> tuple[int, str]:
        """The first bad step, and its terms; 0 where there is none. Waits for the device."""
        step, *bad = [0] if self._bad is None else self._bad.tolist()
        self._bad = None
        names = [name for name, is_bad in zip(self._names, bad, strict=False) if is_bad and name != TOTAL]
        return step, ", ".join(names) or TOTAL

    def _check_losses(self, trainer: pl.Trainer) -> None:
        step, names = self._found()
        if step:
            raise self._error(trainer, f"step {step}: the loss is not finite ({names})")

    def _tell_skipped(self, trainer: pl.Trainer) -> None:
        self._skip = None
        step, names = self._found()
        if self.skipped > self.max_skipped:
            raise self._error(
                trainer, f"step {step}: the loss is not finite ({names}), after {self.max_skipped} skipped steps"
            )
        warnings.warn(
            f"step {step}: the loss is not finite ({names}); skipped, {self.skipped} of at most {self.max_skipped}",
            stacklevel=2,
        )

    @staticmethod
    def _error(trainer: pl.Trainer, what: str) -> NonFiniteError:
        saved = next((c.last_good for c in trainer.checkpoint_callbacks if isinstance(c, RunCheckpoint)), "")
        return NonFiniteError(
            f"{what}; {saved}; lower optimizer.lr, or continue it with callbacks.nonfinite.action=skip"
        )


def _logs(trainer: pl.Trainer) -> bool:
    return bool(trainer.global_step % trainer.log_every_n_steps == 0)  # type: ignore[attr-defined]


def _statistics(module: nn.Module) -> list[Tensor]:
    """BatchNorm's running means and variances, which a forward pass moves."""
    return [buffer for name, buffer in module.named_buffers() if name.endswith(AVERAGED_BUFFERS)]


def _finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all are finite; waits for the device once."""
    local = (tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors)
    return bool(torch.stack([tensor.detach().isfinite().all() for tensor in local]).all())
