"""The command line: what stands around a Hydra main. It imports nothing heavy, so that --help is quick."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tracer_lightning.config.composition import COMPOSITION_ERRORS, frames, of_submission, one_line
from tracer_lightning.config.errors import FULL_ERROR, complain, fail, wants_traceback
from tracer_lightning.config.paths import quoted, with_home, with_quoted_paths
from tracer_lightning.engine.launched import agree_on_start
from tracer_lightning.engine.memory import OutOfMemory, lacks_memory
from tracer_lightning.engine.parent import end_with_launcher, end_with_sweep
from tracer_lightning.engine.signals import SIGNALS
from tracer_lightning.engine.slurm import JOB
from tracer_lightning.engine.streams import lenient_streams, standard_streams


def joined(terms: Mapping[str, Any]) -> str:
    """Terms in one word that may stand in the name of a folder; entries without ``term`` are weights of absent ones."""
    return "+".join(name for name, entry in terms.items() if "term" in entry) or "none"


def _below(path: str) -> str:
    """A resolver for the folders that Hydra makes before any of our own code runs."""
    from tracer_lightning.storage import check_relative

    try:
        return check_relative(path)
    except ValueError as error:
        raise ValueError(f"name, run or another name of a folder: {error}") from error


# At import, because a launcher's processes import this module with the task, and name their folders before they run it.
OmegaConf.register_new_resolver("names", joined, replace=True)
OmegaConf.register_new_resolver("below", _below, replace=True)
OmegaConf.register_new_resolver("quoted", quoted, replace=True)


SUBMITIT = "SUBMITIT_EXECUTOR"
"""Environment variable of a job whose output goes to a file."""


class JobFailed(Exception):
    """A job of a sweep ended with a user's mistake; the other jobs go on.

    Args:
        message: the mistake.
        seen: whether it was printed where the user sees it, rather than in the log of a job of submitit.
    """

    def __init__(self, message: str, seen: bool) -> None:
        super().__init__(message, seen)
        self.seen = seen

    def __str__(self) -> str:
        return str(self.args[0])


@SIGNALS
@JOB.kept_in_queue()
def cli(
    main: Callable[[], Any],
    checkpoint: Literal["evaluated", "diagnosed", "exported"] | None = None,
    shorthand: Callable[[Sequence[str]], list[str]] = list,
) -> None:
    """Run a Hydra main, with configuration errors on one line; signals end it in good order from the beginning.

    With ``checkpoint``, settings come with the checkpoint that the command line names, once ``shorthand`` has put it
    into Hydra's terms.

    Hydra lets them through when a full error is wanted. The request is withdrawn while a job runs (:func:`task`), so
    that no process that it starts takes it for the user's.
    """
    with standard_streams():
        _cli(main, checkpoint, shorthand)


def _cli(main: Callable[[], Any], checkpoint: str | None, shorthand: Callable[[Sequence[str]], list[str]]) -> None:
    end_with_launcher()
    agree_on_start()
    try:
        sys.argv = shorthand(with_home(sys.argv))
        if checkpoint and any(argument.startswith("checkpoint=") for argument in sys.argv):
            from tracer_lightning.config.checkpoint import inherit_checkpoint_config

            sys.argv = inherit_checkpoint_config(
                sys.argv, evaluated=checkpoint != "exported", headed=checkpoint == "evaluated"
            )
        sys.argv = [sys.argv[0], *with_quoted_paths(sys.argv[1:])]
    except ValueError as error:
        fail(error)
    if wants_traceback():
        main()
        return
    os.environ[FULL_ERROR] = "1"
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except JobFailed as failure:
        if not failure.seen:
            complain(failure)
        raise SystemExit(1) from None
    except Exception as error:
        if lacks_memory(error):
            complain(error)
            raise OutOfMemory from None
        unforeseen = isinstance(error, (ValueError, TypeError, LookupError, AttributeError)) and not _of_job(error)
        if not (unforeseen or isinstance(error, (*COMPOSITION_ERRORS, OSError)) or of_submission(error)):
            raise
        fail(one_line(error))
    finally:
        os.environ.pop(FULL_ERROR, None)


def _of_job(error: BaseException) -> bool:
    """Whether a job raised it, rather than Hydra, which has errors of its own for what it did not foresee."""
    return any(frame.f_code is task.__code__ for frame in frames(error))


@contextmanager
def imports(user_wants_traceback: bool) -> Iterator[None]:
    """Within, libraries for which there is not enough memory end the process with one line."""
    try:
        yield
    except Exception as error:
        if user_wants_traceback or not lacks_memory(error):
            raise
        complain(error)
        raise OutOfMemory from None


def task(cfg: DictConfig, user_wants_traceback: bool, job: Callable[[DictConfig], Any]) -> Any:
    """Run one job; a user's mistake ends it with one line and status 1, anything else with its traceback.

    Returns:
        What the job returns.
    """
    end_with_sweep()
    with SIGNALS, lenient_streams():  # a launcher's process has not been through cli
        return _task(cfg, user_wants_traceback, job)


def _task(cfg: DictConfig, user_wants_traceback: bool, job: Callable[[DictConfig], Any]) -> Any:
    from tracer_lightning.config.checkpoint import with_checkpoint
    from tracer_lightning.config.limits import of_limits
    from tracer_lightning.config.local_data import local_data
    from tracer_lightning.config.sweeps import is_sweep, job_of_a_sweep
    from tracer_lightning.engine.run import USER_ERRORS

    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    if user_wants_traceback:
        with job_of_a_sweep(), local_data(with_checkpoint(cfg, choices)) as settled:
            return job(settled)
    wanted = os.environ.pop(FULL_ERROR, None)
    try:
        with job_of_a_sweep(), local_data(with_checkpoint(cfg, choices)) as settled:
            return job(settled)
    except Exception as error:
        memory = lacks_memory(error)
        if not memory and not isinstance(error, USER_ERRORS):
            raise
        said = of_limits(error, cfg)
        complain(said)
        if is_sweep():
            raise JobFailed(str(said), seen=SUBMITIT not in os.environ) from None
        raise (OutOfMemory() if memory else SystemExit(1)) from None
    finally:
        if wanted is not None:
            os.environ[FULL_ERROR] = wanted
