"""Jobs of a sweep that start further processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import read_write

LIGHTNING_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that Lightning leaves behind, with which the next job would wait for missing processes."""


def is_sweep() -> bool:
    """Whether Hydra runs several jobs."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


@contextmanager
def command_line_of_job(words: Sequence[str]) -> Iterator[None]:
    """Make ``sys.argv`` the command line of the current job alone, with which Lightning starts further DDP processes.

    The command line of a sweep would run the whole sweep: it asks for it, or the configuration of an ablation does.

    Args:
        words: arguments that name the command, which Hydra has not been given.
    """
    arguments = sys.argv
    sys.argv = [arguments[0], *words, *_arguments_of_job()]
    try:
        yield
    finally:
        sys.argv = arguments


def _arguments_of_job() -> list[str]:
    """The settings of the current job, after the options: Lightning appends settings, and these must not be split."""
    if not HydraConfig.initialized():
        return sys.argv[1:]
    config = HydraConfig.get()
    folders = [source.path for source in config.runtime.config_sources if source.provider == "command-line"]
    options = [f"--config-name={config.job.config_name}", *(f"--config-dir={folder}" for folder in folders)]
    return [*options, *config.overrides.task, *(["hydra.mode=RUN"] if is_sweep() else config.overrides.hydra)]


@contextmanager
def job_of_a_sweep() -> Iterator[None]:
    """Make the current job look like a single run to the processes that it starts, and clean up after it."""
    if not is_sweep():
        yield
        return
    multiprocessing.set_start_method(
        None, force=True
    )  # joblib's start method, in its workers, can't start torch's processes
    config = HydraConfig.get()
    variables = set(os.environ)
    with read_write(config.run):  # type: ignore[arg-type]
        config.run.dir = config.runtime.output_dir
    try:
        yield
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
        for name in set(LIGHTNING_VARIABLES) - variables:
            os.environ.pop(name, None)
