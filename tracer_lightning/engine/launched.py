"""Agreement of a run's processes before any of them composes its configuration."""

from __future__ import annotations

import os
import time

STARTED = "TRACER_STARTED"
"""Environment variable with the time that names an unnamed run; ``conf/train.yaml`` reads it."""
FORMAT = "%Y-%m-%d_%H-%M-%S"


def agree_on_start() -> None:
    """Set the same start time in all processes that torchrun or srun has started.

    The time names a run without a name, so that the processes would otherwise write into different folders. Under
    torchrun it is the time of the first process that gets here; under srun the start of the job plus a second for each
    job step, if SLURM provides it (from version 22.05 on).
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # imported late: torch is slow to import

        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        os.environ[STARTED] = store.compare_set("tracer_lightning/started", "", time.strftime(FORMAT)).decode()
    elif int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_JOB_START_TIME" in os.environ:
        start = int(os.environ["SLURM_JOB_START_TIME"]) + int(os.environ.get("SLURM_STEP_ID", 0))
        os.environ[STARTED] = time.strftime(FORMAT, time.localtime(start))
