"""When checkpoints are written, when they come into force, and how a run is stopped without loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from tracer_lightning.engine.run_folder import LAST, NEXT, PREVIOUS
from tracer_lightning.engine.signals import SIGNALS, Stopped
from tracer_lightning.storage.checkpoints import promote_checkpoint


class RunCheckpoint(Checkpoint):
    """Keep ``last.ckpt``, replaced after every epoch, and ``previous.ckpt``, the one before it.

    A checkpoint is written at the end of a step as ``next.ckpt``, and comes into force when the next step begins:
    Lightning logs a step's metrics after that hook, validates, and ends the epoch, and a run that continues at the
    checkpoint would never log them. So whatever kills the run, the metrics up to the checkpoint in force are on disk.
    The epoch's own is of its last step, too: from one that is made in Lightning's hook for an epoch's end, runs whose
    length is given in steps do not continue exactly (Lightning 2.6).

    A signal (:class:`~tracer_lightning.engine.signals.StopSignals`) has the step finished and a checkpoint written,
    and then ends the run; several processes agree on the step, at logging steps. A validation that has begun is
    finished before.

    Args:
        dirpath: folder of the checkpoints.
        every_n_train_steps: optimizer steps between further checkpoints within an epoch; None writes none.
    """

    def __init__(self, dirpath: str, every_n_train_steps: int | None = None) -> None:
        if every_n_train_steps is not None and every_n_train_steps < 1:
            raise ValueError(f"every_n_train_steps must be null or a whole number >= 1, found {every_n_train_steps}")
        self.dirpath = Path(dirpath)
        self.every_n_train_steps = every_n_train_steps
        self._seen = 0
        self._total: float = 0
        self._in_force: int | None = None
        self._pending: int | None = None
        self._stop: int | None = None
        self._last_is_good = True

    @property
    def last_good(self) -> str:
        """Which checkpoint there is, for errors."""
        if self._in_force is None:
            return "there is no checkpoint yet"
        name = LAST if self._last_is_good else PREVIOUS
        return f"the last good checkpoint is {self.dirpath / name}, of step {self._in_force}"

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begin, or continue a restored run; signals wait for a step's end from here on."""
        source = Path(trainer.ckpt_path or "")
        own = source.parent.absolute() == self.dirpath.absolute()
        self._last_is_good = not (own and source.name == PREVIOUS)
        self._seen = trainer.global_step
        self._in_force = self._seen if own else None
        self._pending = self._stop = None
        self._total = trainer.estimated_stepping_batches
        _begin_epoch(trainer)
        SIGNALS.install()
        SIGNALS.deferred = True

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """All of the step before is logged: its checkpoint comes into force, and a run that is to stop stops."""
        self._commit(trainer)
        if self._stop is not None:
            if not trainer.is_global_zero:
                raise SystemExit(0)  # a failure of this process would have a launcher kill the first one
            SIGNALS.act(self._stop)
            self._stop = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write a checkpoint where one is due, the epoch is over, or the run is to stop."""
        step = trainer.global_step
        if step == self._seen:
            return
        self._seen = step
        self._stop = self._stop or self._requested(trainer, step)
        due = self.every_n_train_steps is not None and step % self.every_n_train_steps == 0
        if (due or self._stop is not None or trainer.is_last_batch) and step != self._total:
            self._write(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the final checkpoint here: whatever continues it trains no more, and tests under the same step."""
        if trainer.global_step == self._total:
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Put the final checkpoint into force; from here on there is nothing to save, and signals act at once."""
        self._commit(trainer)
        SIGNALS.deferred = False
        SIGNALS.act()

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Lightning has put its own handler of SIGTERM in place."""
        SIGNALS.install()

    on_validation_start = on_predict_start = on_test_start

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Processes that Lightning has started stop, too."""
        SIGNALS.deferred = False
        launcher: Any = trainer.strategy.launcher
        if isinstance(exception, Stopped) and self._stop is None and launcher is not None:
            launcher.kill(exception.signum)

    def _requested(self, trainer: pl.Trainer, step: int) -> int | None:
        """The signal that some process was sent."""
        if trainer.world_size == 1:
            return SIGNALS.requested
        if step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return None
        own = torch.tensor(SIGNALS.requested or 0, device=trainer.strategy.root_device)
        reduced: Any = trainer.strategy.reduce(own, reduce_op="max")
        return int(reduced) or None

    def _write(self, trainer: pl.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        try:
            trainer.save_checkpoint(self.dirpath / NEXT)
        except OSError as error:
            raise OSError(
                f"step {trainer.global_step}: the checkpoint can't be written ({error}); {self.last_good}"
            ) from error
        self._pending = trainer.global_step

    def _commit(self, trainer: pl.Trainer) -> None:
        if self._pending is None:
            return
        for logger in trainer.loggers:
            getattr(logger, "flush", logger.save)()
        if trainer.is_global_zero:
            promote_checkpoint(self.dirpath, keep=self._last_is_good)
        self._in_force, self._pending, self._last_is_good = self._pending, None, True


def _begin_epoch(trainer: pl.Trainer) -> None:
    """Count the epoch that begins where a run continues from the last step of the one before.

    Lightning 2.6 does not, and then takes a checkpoint within it for one of its end: the run that continues there, the
    second continuation, would log under steps that are one too low.
    """
    progress: Any = trainer.fit_loop.epoch_progress
    if trainer.fit_loop.restarted_mid_epoch and progress.total.started == progress.total.processed:
        progress.increment_ready()
        progress.increment_started()
