"""The command line: what stands around a Hydra main. It imports nothing heavy, so that --help is quick."""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tracer_lightning.signals import SIGNALS
from tracer_lightning.slurm import JOB
from tracer_lightning.training.errors import FULL_ERROR, complain, fail, wants_traceback
from tracer_lightning.training.launched import agree_on_start
from tracer_lightning.training.memory import OutOfMemory, lacks_memory
from tracer_lightning.training.parent import end_with_launcher, end_with_sweep
from tracer_lightning.training.paths import quoted, with_absolute_root, with_home, with_quoted_paths
from tracer_lightning.training.streams import lenient_streams, standard_streams

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)


def joined(terms: Mapping[str, Any]) -> str:
    """Terms in one word that may stand in the name of a folder; entries without ``term`` are weights of absent ones."""
    return "+".join(name for name, entry in terms.items() if "term" in entry) or "none"


def _below(path: str) -> str:
    """A resolver for the folders that Hydra makes before any of our own code runs."""
    from tracer_lightning.storage import below

    try:
        return below(path)
    except ValueError as error:
        raise ValueError(f"name, run or another name of a folder: {error}") from error


# At import, because a launcher's processes import this module with the task, and name their folders before they run it.
OmegaConf.register_new_resolver("names", joined, replace=True)
OmegaConf.register_new_resolver("below", _below, replace=True)
OmegaConf.register_new_resolver("quoted", quoted, replace=True)


def _one_line(error: BaseException) -> ValueError:
    """Hydra's composition errors, and those of its launchers, said in our form."""
    text = str(error)
    if _of_submission(error):
        return ValueError(f"hydra/launcher: {text}")
    if isinstance(error, MissingConfigException) and (found := re.search(r"Could not find '([^']+)'", text)):
        group, _, option = found[1].rpartition("/")
        options = re.findall(r"^\t(.+)$", text.partition("Config search path")[0], re.MULTILINE)
        choice = f"choose one of {', '.join(options)}" if options else "see --help"
        if group.startswith("hydra/"):
            choice += "; joblib, submitit and optuna come with pip install -e '.[sweep]'"
        return ValueError(f"{group}={option}: there is no such {group or 'configuration'}; {choice}")
    if found := re.search(r"Could not load '([^']+)/([^'/]+)'", text):
        return ValueError(f"{found[1]}={found[2]}: there is no such {found[1]}; see --help")
    if found := re.search(r"Could not override '([^']+)'", text):
        key, inner = found[1], re.search(r"Key '([^']+)' is not in struct", f"{text} {error.__cause__}")
        if inner and inner[1] not in key.split("."):  # a mapping was given, with a new entry
            key = f"{key}.{inner[1]}"
        return ValueError(f"{key}: there is no such setting; see --cfg job (to add one: +{key}=)")
    if found := re.search(r"while resolving interpolation: Missing mandatory value: (\w+)", text):
        return ValueError(f"{found[1]} is not set; choose an experiment=, or give {found[1]}=")
    if found := re.search(r"^ValueError raised while resolving interpolation: (.+)", text):
        return ValueError(found[1])
    if isinstance(error, OverrideParseException):
        return ValueError(f"{error.override}: not of the form key=value; put quotes around brackets and commas")
    if isinstance(error, OSError):
        return ValueError(f"the run's folder can't be made: {text}; choose another place with paths.outputs=")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    message = re.sub(r"\s+full_key: .*|\s+object_type=\S*", "", f"{text.rstrip(' .')} {cause or ''}".strip())
    given = _guilty(error)
    return ValueError(f"{message if not given or given in message else f'{given}: {message}'}; see --help")


def _guilty(error: BaseException) -> str | None:
    """The override that Hydra was at when it failed, which its errors do not always name."""
    lines = [getattr(frame.f_locals.get("override"), "input_line", None) for frame in reversed(_frames(error))]
    mark = "${" if "${" in f"{error} {error.__cause__}" else "\n"
    odd = [argument for argument in sys.argv[1:] if mark in argument or _names_no_options(argument)]
    return next((line for line in [*lines, *odd] if line), None)


def _names_no_options(argument: str) -> bool:
    """Whether it gives a group a list in which something is no name."""
    given = re.fullmatch(r"[\w/@]+=\[(.+)\]", argument)
    items = [item.strip() for item in given[1].split(",")] if given else []
    return any(item == "null" or not re.fullmatch(r"[A-Za-z][\w/-]*", item) for item in items)


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
            from tracer_lightning.training.checkpoint import adopt

            sys.argv = adopt(sys.argv, evaluated=checkpoint != "exported", headed=checkpoint == "evaluated")
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
        if not (unforeseen or isinstance(error, (*COMPOSITION_ERRORS, OSError)) or _of_submission(error)):
            raise
        fail(_one_line(error))
    finally:
        os.environ.pop(FULL_ERROR, None)


def _frames(error: BaseException) -> list[FrameType]:
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _of_job(error: BaseException) -> bool:
    """Whether a job raised it, rather than Hydra, which has errors of its own for what it did not foresee."""
    return any(frame.f_code is task.__code__ for frame in _frames(error))


def _of_submission(error: BaseException) -> bool:
    """Whether submitit could not hand in a job, or lost it; what a job raised comes with its trace."""
    modules = [frame.f_globals.get("__name__", "") for frame in _frames(error)]
    return any(name.startswith("submitit.") for name in modules) and "with trace" not in str(error)


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
    from tracer_lightning.training.checkpoint import with_checkpoint
    from tracer_lightning.training.run import USER_ERRORS
    from tracer_lightning.training.sweeps import is_sweep, job_of_a_sweep

    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    if user_wants_traceback:
        with job_of_a_sweep():
            return job(with_absolute_root(with_checkpoint(cfg, choices)))
    wanted = os.environ.pop(FULL_ERROR, None)
    try:
        with job_of_a_sweep():
            return job(with_absolute_root(with_checkpoint(cfg, choices)))
    except Exception as error:
        memory = lacks_memory(error)
        if not memory and not isinstance(error, USER_ERRORS):
            raise
        complain(error)
        if is_sweep():
            raise JobFailed(str(error), seen=SUBMITIT not in os.environ) from None
        raise (OutOfMemory() if memory else SystemExit(1)) from None
    finally:
        if wanted is not None:
            os.environ[FULL_ERROR] = wanted
