"""Writing and promotion of a run's checkpoints, and graceful stopping at signals."""

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
    """Keep ``last.ckpt``, which is replaced after every epoch, and its predecessor ``previous.ckpt``.

    A checkpoint is written at the end of a step as ``next.ckpt``, and promoted to ``last.ckpt`` when the next step
    begins. Between the two, Lightning logs the step's metrics, validates and ends the epoch; a run resumed from the
    checkpoint would not log these metrics again. So the metrics up to ``last.ckpt`` are always on disk, whatever kills
    the run. The checkpoint of an epoch is also written at the end of its last step: runs whose length is given in steps
    do not resume exactly from one written in Lightning's epoch end hook (Lightning 2.6).

    :class:`~tracer_lightning.storage.checkpoints.AtomicCheckpointIO` writes the files, and ``promote_checkpoint``
    renames them.

    After a signal (:class:`~tracer_lightning.engine.signals.StopSignals`), the run finishes its step, writes a
    checkpoint and ends; several processes agree on this step at logging steps. A running validation is finished first.

    Args:
        dirpath: folder of the checkpoints.
        every_n_train_steps: number of optimizer steps between further checkpoints within an epoch; None for none.
    """

    def __init__(self, dirpath: str, every_n_train_steps: int | None = None) -> None:
        if every_n_train_steps is not None and every_n_train_steps < 1:
            raise ValueError(f"every_n_train_steps must be >= 1 or None, got {every_n_train_steps}")
        self.dirpath = Path(dirpath)
        self.every_n_train_steps = every_n_train_steps
        self._last_step = 0
        self._total: float = 0
        self._saved_step: int | None = None
        self._pending_step: int | None = None
        self._stop: int | None = None
        self._last_is_good = True

    @property
    def last_good(self) -> str:
        """Description of the last good checkpoint, for error messages."""
        if self._saved_step is None:
            return "there is no checkpoint yet"
        name = LAST if self._last_is_good else PREVIOUS
        return f"the last good checkpoint is {self.dirpath / name}, of step {self._saved_step}"

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start or resume a run; from here on, signals wait for the end of a step."""
        source = Path(trainer.ckpt_path or "")
        is_own_checkpoint = source.parent.absolute() == self.dirpath.absolute()
        self._last_is_good = not (is_own_checkpoint and source.name == PREVIOUS)
        self._last_step = trainer.global_step
        self._saved_step = self._last_step if is_own_checkpoint else None
        self._pending_step = self._stop = None
        self._total = trainer.estimated_stepping_batches
        _begin_epoch(trainer)
        SIGNALS.install()
        SIGNALS.deferred = True

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Promote the checkpoint of the previous step, which is fully logged now, and stop the run after a signal."""
        self._promote(trainer)
        if self._stop is not None:
            if not trainer.is_global_zero:
                raise SystemExit(0)  # after a failure of this process, a launcher would kill rank 0
            SIGNALS.act(self._stop)
            self._stop = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write a checkpoint where one is due, at the end of the epoch, and after a signal."""
        step = trainer.global_step
        if step == self._last_step:
            return
        self._last_step = step
        self._stop = self._stop or self._requested_signal(trainer, step)
        due = self.every_n_train_steps is not None and step % self.every_n_train_steps == 0
        if (due or self._stop is not None or trainer.is_last_batch) and step != self._total:
            self._write(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the final checkpoint here: a run resumed from it only tests, and logs under the same step."""
        if trainer.global_step == self._total:
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Promote the final checkpoint; from here on, signals act immediately."""
        self._promote(trainer)
        SIGNALS.deferred = False
        SIGNALS.act()

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Reinstall the signal handlers, since Lightning has replaced that of SIGTERM."""
        SIGNALS.install()

    on_validation_start = on_predict_start = on_test_start

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Forward the signal to processes that Lightning has launched."""
        SIGNALS.deferred = False
        launcher: Any = trainer.strategy.launcher
        if isinstance(exception, Stopped) and self._stop is None and launcher is not None:
            launcher.kill(exception.signum)

    def _requested_signal(self, trainer: pl.Trainer, step: int) -> int | None:
        """Return the signal that any process has received."""
        if trainer.world_size == 1:
            return SIGNALS.requested
        if step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return None
        local = torch.tensor(SIGNALS.requested or 0, device=trainer.strategy.root_device)
        reduced: Any = trainer.strategy.reduce(local, reduce_op="max")
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
        self._pending_step = trainer.global_step

    def _promote(self, trainer: pl.Trainer) -> None:
        if self._pending_step is None:
            return
        for logger in trainer.loggers:
            getattr(logger, "flush", logger.save)()
        if trainer.is_global_zero:
            promote_checkpoint(self.dirpath, keep=self._last_is_good)
        self._saved_step, self._pending_step, self._last_is_good = self._pending_step, None, True


def _begin_epoch(trainer: pl.Trainer) -> None:
    """Count the new epoch where a run is resumed from the last step of the previous one.

    Lightning 2.6 does not count it, and later treats a checkpoint within the epoch as one of its end: a run resumed a
    second time would log under step numbers that are too low by one.
    """
    progress: Any = trainer.fit_loop.epoch_progress
    if trainer.fit_loop.restarted_mid_epoch and progress.total.started == progress.total.processed:
        progress.increment_ready()
        progress.increment_started()
