"""The command line around a Hydra main. This module imports nothing heavy, so that --help is quick."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tracer_lightning.commands.program import invocation
from tracer_lightning.config.composition import COMPOSITION_ERRORS, frames, is_submission_error, one_line
from tracer_lightning.config.errors import FULL_ERROR, error_line, fail, print_error, wants_traceback
from tracer_lightning.config.help import asks_for_help, command_options, help_config, quick_help, without_settings
from tracer_lightning.config.paths import quoted, with_home, with_quoted_paths
from tracer_lightning.engine.launched import agree_on_start
from tracer_lightning.engine.memory import OutOfMemory, lacks_memory
from tracer_lightning.engine.parent import end_with_launcher, end_with_sweep
from tracer_lightning.engine.signals import SIGNALS
from tracer_lightning.engine.slurm import JOB
from tracer_lightning.engine.streams import lenient_streams, standard_streams
from tracer_lightning.phases import measure_phases, phase


def _join_names(terms: Mapping[str, Any]) -> str:
    """Names of loss terms for the name of a folder; entries without a class are settings of terms that are not used."""
    used = [name for name, entry in terms.items() if entry is not None and "_target_" in (entry.get("term") or {})]
    return "+".join(used) or "none"


def _below(path: str) -> str:
    """The path, if it stays below its folder: Hydra makes this folder before any check of the configuration runs."""
    from tracer_lightning.storage import check_relative

    try:
        return check_relative(path)
    except ValueError as error:
        raise ValueError(f"name, run or another name of a folder: {error}") from error


# Registered at import: a launcher's processes import this module with the task, and name their folders before they
# run it.
OmegaConf.register_new_resolver("names", _join_names, replace=True)
OmegaConf.register_new_resolver("below", _below, replace=True)
OmegaConf.register_new_resolver("quoted", quoted, replace=True)
OmegaConf.register_new_resolver("command_options", command_options, replace=True)
OmegaConf.register_new_resolver("invocation", invocation, replace=True)

MULTIRUN = {"-m", "--multirun"}
"""Hydra's options for a sweep."""
REPORT = "Error executing job with overrides: "
"""Beginning of the line that Hydra prints before it raises a job's exception."""
SUBMITIT = "SUBMITIT_EXECUTOR"
"""Environment variable that submitit sets in its jobs, whose output goes to a file."""


class JobFailed(Exception):
    """A job of a sweep has failed by a user's mistake; the other jobs go on.

    Args:
        message: message of the error.
        number: number of the job.
        settings: settings of the job.
        is_shown: whether it was printed to the terminal, rather than to the log of a submitit job.
    """

    def __init__(self, message: str, number: int, settings: Sequence[str], is_shown: bool) -> None:
        super().__init__(message, number, settings, is_shown)
        self.message, self.number, self.settings, self.is_shown = message, number, settings, is_shown

    def print(self, arguments: Sequence[str]) -> None:
        """Print the error with the job's number and the settings that distinguish it from other jobs.

        Args:
            arguments: the command line of the sweep.
        """
        own = [override for override in self.settings if override not in arguments]
        job = f"job {self.number} ({' '.join(own)})" if own else f"job {self.number}"
        print_error(ValueError(f"{job}: {self.message}"))


def conf_folder() -> Path:
    """The folder of the configuration: in the installed package, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def hydra_main(command: str, function: str, words: Sequence[str] = ()) -> Callable[[], Any]:
    """A Hydra main that composes a command's configuration and runs it.

    Args:
        command: name of the command's module, and of its YAML file.
        function: name of the command's function in the module.
        words: arguments that name the command, which precede its settings on the command line.
    """
    user_wants_traceback = wants_traceback()
    composed = help_config(command, conf_folder()) if asks_for_help(sys.argv) else command

    @hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=composed)
    def main(cfg: DictConfig) -> Any:
        with measure_phases():
            with phase("imports"), imports(user_wants_traceback):
                job = getattr(import_module(f"tracer_lightning.commands.{command}"), function)
            return task(cfg, user_wants_traceback, job, words)

    def composed_main() -> None:
        if MULTIRUN & set(sys.argv):
            from tracer_lightning.config.swept_groups import allow_settings_of_swept_groups

            sys.argv[1:] = allow_settings_of_swept_groups(sys.argv[1:], conf_folder(), command)
        main()

    return composed_main


@SIGNALS
@JOB.requeue_on_preemption()
def cli(
    main: Callable[[], Any],
    checkpoint: Literal["evaluated", "diagnosed", "embedded", "exported"] | None = None,
    shorthand: Callable[[Sequence[str]], list[str]] = list,
) -> None:
    """Run a Hydra main, with errors of composition on one line and signals handled from the beginning.

    Hydra raises these errors, instead of printing them, where full errors are requested by an environment variable. It
    is therefore set here, and removed while a job runs (:func:`task`), so that the processes that the job starts do not
    take it for the user's request.

    Args:
        main: function decorated by ``hydra.main``.
        checkpoint: use that the command makes of the checkpoint named on the command line, which brings settings along;
            None for a command without one.
        shorthand: translation of the command line into Hydra's grammar.
    """
    with standard_streams():
        _cli(main, checkpoint, shorthand)


def _cli(main: Callable[[], Any], checkpoint: str | None, shorthand: Callable[[Sequence[str]], list[str]]) -> None:
    end_with_launcher()
    agree_on_start()
    try:
        sys.argv = shorthand(with_home(sys.argv))
        if asks_for_help(sys.argv):
            sys.argv = without_settings(sys.argv)
        if checkpoint and any(argument.startswith("checkpoint=") for argument in sys.argv):
            from tracer_lightning.config.checkpoint import inherit_checkpoint_config

            sys.argv = inherit_checkpoint_config(
                sys.argv,
                evaluated=checkpoint in ("evaluated", "diagnosed"),
                scored=checkpoint == "evaluated",
                embedded=checkpoint == "embedded",
            )
        sys.argv = [sys.argv[0], *with_quoted_paths(sys.argv[1:])]
    except ValueError as error:
        fail(error)
    if wants_traceback():
        main()
        return
    os.environ[FULL_ERROR] = "1"
    try:
        with quick_help(sys.argv), without_report():
            main()
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except JobFailed as failure:
        if not failure.is_shown:
            failure.print(sys.argv)
        raise SystemExit(1) from None
    except Exception as error:
        if lacks_memory(error):
            print_error(error)
            raise OutOfMemory from None
        of_hydra = isinstance(error, (ValueError, TypeError, LookupError, AttributeError)) and not _of_job(error)
        if not (of_hydra or isinstance(error, (*COMPOSITION_ERRORS, OSError)) or is_submission_error(error)):
            raise
        fail(one_line(error))
    finally:
        os.environ.pop(FULL_ERROR, None)


class _WithoutReport:
    """A text stream that holds back the line in which Hydra reports a job's exception.

    Args:
        stream: the stream that all other text goes to.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.report = ""
        """The line that was held back."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, or hold it back."""
        if text.startswith(REPORT):
            self.report = text
            return len(text)
        written: int = self._stream.write(text)
        return written


@contextmanager
def without_report() -> Iterator[None]:
    """Keep Hydra from reporting the first failed job at the end of a sweep, where the job has printed its error."""
    stderr = _WithoutReport(sys.stderr)
    try:
        with redirect_stderr(stderr):
            yield
    except JobFailed:
        raise
    except BaseException:
        sys.stderr.write(stderr.report)
        raise


def _of_job(error: BaseException) -> bool:
    """Whether a job raised the error, rather than Hydra."""
    return any(frame.f_code is task.__code__ for frame in frames(error))


@contextmanager
def imports(user_wants_traceback: bool) -> Iterator[None]:
    """Report a lack of memory while heavy libraries are imported in one line, and end the process.

    Their half a million objects stay until the end: the garbage collector is off meanwhile, and skips them later.
    """
    is_first = not gc.get_freeze_count()  # of several jobs in a process: later ones have garbage to collect
    if is_first:
        gc.disable()
    try:
        yield
        if is_first:
            gc.freeze()
            atexit.register(gc.unfreeze)  # libraries warn about what isn't collected at the end
    except Exception as error:
        if user_wants_traceback or not lacks_memory(error):
            raise
        print_error(error)
        raise OutOfMemory from None
    finally:
        gc.enable()


def task(
    cfg: DictConfig, user_wants_traceback: bool, job: Callable[[DictConfig], Any], words: Sequence[str] = ()
) -> Any:
    """Run one job; a user's mistake ends it with one line and status 1, any other error with its traceback.

    Args:
        cfg: composed configuration.
        user_wants_traceback: whether mistakes show their traceback, too.
        job: the command.
        words: arguments that name the command, which precede its settings on the command line.

    Returns:
        The value that the job returns.
    """
    end_with_sweep()
    from tracer_lightning.config.sweeps import command_line_of_job

    arguments = sys.argv
    with SIGNALS, lenient_streams(), command_line_of_job(words):  # a launcher's process does not run cli
        return _task(cfg, user_wants_traceback, job, arguments)


def _task(
    cfg: DictConfig, user_wants_traceback: bool, job: Callable[[DictConfig], Any], arguments: Sequence[str]
) -> Any:
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from tracer_lightning.config.checkpoint import with_checkpoint
    from tracer_lightning.config.limits import name_limit
    from tracer_lightning.config.local_data import local_data
    from tracer_lightning.config.sweeps import is_sweep, job_of_a_sweep

    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    if user_wants_traceback:
        with job_of_a_sweep(), local_data(with_checkpoint(cfg, choices)) as local_cfg:
            return job(local_cfg)
    full_error = os.environ.pop(FULL_ERROR, None)
    try:
        with job_of_a_sweep(), local_data(with_checkpoint(cfg, choices)) as local_cfg:
            return job(local_cfg)
    except Exception as error:
        memory = lacks_memory(error)
        if not memory and not isinstance(error, (ValueError, OSError, MisconfigurationException, *COMPOSITION_ERRORS)):
            raise
        named = name_limit(error, cfg)
        if is_sweep():
            config = HydraConfig.get()
            settings, is_shown = list(config.overrides.task), SUBMITIT not in os.environ
            failure = JobFailed(error_line(named), config.job.num, settings, is_shown)
            failure.print(arguments)
            raise failure from None
        print_error(named)
        raise (OutOfMemory() if memory else SystemExit(1)) from None
    finally:
        if full_error is not None:
            os.environ[FULL_ERROR] = full_error
