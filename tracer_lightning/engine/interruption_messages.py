"""Messages of a run that is interrupted."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed import DistError

from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.memory import lacks_memory, memory_request
from tracer_lightning.engine.signals import Stopped
from tracer_lightning.engine.slurm import JOB

CONNECTION_ERRORS = ("gloo", "Connection closed by peer", "Connection reset by peer")
"""Parts of the messages of collective operations whose peer has died; these are plain RuntimeErrors."""
RECEIVING = "rebuild_storage_fd"
"""Function of torch that receives the memory of a tensor from another process."""


@runtime_checkable
class ReportsLastGood(Protocol):
    """A callback that knows which checkpoint of the run is the last good one."""

    @property
    def last_good(self) -> str:
        """Description of the last good checkpoint, for messages."""


@contextmanager
def report_interruption(trainer: pl.Trainer, resume_hint: str) -> Iterator[None]:
    """Report where a run was stopped by a signal, a full disk or a lost process, and how it is continued.

    Lightning's own handler of signals, which would requeue a SLURM job, is not used: it saves in the middle of a step,
    wherever the signal happens to arrive. Its option ``auto_requeue`` is respected.

    Args:
        trainer: trainer of the run.
        resume_hint: how a user continues the run.
    """
    environment = trainer._accelerator_connector.cluster_environment  # there is no public way to it
    JOB.requeues = not isinstance(environment, SLURMEnvironment) or environment.auto_requeue
    try:
        yield
    except Stopped as stop:
        print_rank_zero(f"stopped by {stop.signum.name} at step {trainer.global_step}; {resume_hint}")
        raise
    except Exception as error:
        if lacks_memory(error):
            raise MemoryError(f"{memory_request(error)}; {_last_good(trainer)}; {resume_hint}") from error
        last_good = _last_good(trainer)
        if (process := lost_process(error)) is not None:
            line = (str(error) or type(error).__name__).splitlines()[0]
            raise OSError(f"{process} was lost ({line}); {last_good}; {resume_hint}") from error
        if isinstance(error, OSError):
            raise OSError(str(error) if last_good in str(error) else f"{error}; {last_good}; {resume_hint}") from error
        raise


def lost_process(error: Exception) -> str | None:
    """The process that has died, if that is what the error means, in words; else None.

    A loading process that dies after it has sent a batch leaves a message without the memory that it refers to.
    """
    if isinstance(error, OSError | EOFError):
        functions = {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}
        is_loading = RECEIVING in functions or RECEIVING in str(error)  # the text of a thread that pins memory
        return "a loading process" if is_loading else None
    if not isinstance(error, RuntimeError):
        return None
    if isinstance(error, DistError) or any(text in str(error) for text in CONNECTION_ERRORS):
        return "another process of this run"
    return "a loading process" if "DataLoader worker (pid" in str(error) else None


def _last_good(trainer: pl.Trainer) -> str:
    callbacks: list[object] = list(trainer.checkpoint_callbacks)
    descriptions = [callback.last_good for callback in callbacks if isinstance(callback, ReportsLastGood)]
    return descriptions[0] if descriptions else "no checkpoints are kept"
