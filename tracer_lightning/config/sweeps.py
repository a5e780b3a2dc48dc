"""Jobs of a sweep that start processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import read_write

LEFT_BY_LIGHTNING = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What the first job leaves in the environment, and what would make the next wait for processes it never starts."""


def is_sweep() -> bool:
    """Whether Hydra runs several jobs."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


@contextmanager
def job_of_a_sweep() -> Iterator[None]:
    """Make the current job look like a single run to the processes it starts, and clean up behind it.

    Lightning starts further DDP processes with this process's own command line, which in a sweep is the whole sweep,
    and remains one under an ablation, whose configuration says so.
    """
    if not is_sweep():
        yield
        return
    multiprocessing.set_start_method(None, force=True)  # joblib's own, in its workers, can't start those of torch
    config = HydraConfig.get()
    arguments, before = sys.argv, set(os.environ)
    sys.argv = [arguments[0], *config.overrides.task, "hydra.mode=RUN"]
    with read_write(config.run):  # type: ignore[arg-type]
        config.run.dir = config.runtime.output_dir
    try:
        yield
    finally:
        sys.argv = arguments
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
        for name in set(LEFT_BY_LIGHTNING) - before:
            os.environ.pop(name, None)
