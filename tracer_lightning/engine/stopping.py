"""How a run that ends before its time says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from omegaconf import DictConfig
from torch.distributed import DistError

from tracer_lightning.callbacks import RunCheckpoint
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.memory import lacks_memory, memory_request
from tracer_lightning.engine.resume import advice
from tracer_lightning.engine.signals import Stopped
from tracer_lightning.engine.slurm import JOB

LOST = ("gloo", "Connection closed by peer", "Connection reset by peer")
"""In messages of collective operations whose other side has died; they are plain RuntimeErrors."""


@contextmanager
def report_interruption(trainer: pl.Trainer, cfg: DictConfig) -> Iterator[None]:
    """Say where a run stopped that a signal, a full disk or a lost process ended, and how it goes on.

    Lightning's own handler, which would put a SLURM job into the queue again, is not used: it saves in the middle of a
    step, wherever the signal happens to arrive. Its setting is heeded.
    """
    environment = trainer._accelerator_connector.cluster_environment  # Lightning has no other way to it
    JOB.requeues = not isinstance(environment, SLURMEnvironment) or environment.auto_requeue
    try:
        yield
    except Stopped as stop:
        print_rank_zero(f"stopped by {stop.signum.name} at step {trainer.global_step}; {advice(cfg)}")
        raise
    except Exception as error:
        if lacks_memory(error):
            raise MemoryError(f"{memory_request(error)}; {_last_good(trainer)}; {advice(cfg)}") from error
        if isinstance(error, OSError):
            known = _last_good(trainer)
            raise OSError(str(error) if known in str(error) else f"{error}; {known}; {advice(cfg)}") from error
        lost = _lost(error) if isinstance(error, RuntimeError) else None
        if lost is None:
            raise
        line = str(error).splitlines()[0]
        raise OSError(f"{lost} was lost ({line}); {_last_good(trainer)}; {advice(cfg)}") from error


def _lost(error: RuntimeError) -> str | None:
    """Which process has died, where that is what the error means."""
    if isinstance(error, DistError) or any(sign in str(error) for sign in LOST):
        return "another process of this run"
    return "a loading process" if "DataLoader worker (pid" in str(error) else None


def _last_good(trainer: pl.Trainer) -> str:
    saved = [callback.last_good for callback in trainer.checkpoint_callbacks if isinstance(callback, RunCheckpoint)]
    return saved[0] if saved else "no checkpoints are kept"
