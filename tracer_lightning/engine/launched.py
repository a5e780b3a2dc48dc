"""What the processes of one run must agree on before any of them composes its configuration."""

from __future__ import annotations

import os
import time

STARTED = "TRACER_STARTED"
"""Environment variable with the time that names a run without a name; ``conf/train.yaml`` reads it."""
FORMAT = "%Y-%m-%d_%H-%M-%S"


def agree_on_start() -> None:
    """Give all processes that torchrun or srun has started the same time, whenever each of them got here.

    Else they would write into folders of different names. Under torchrun the first one's time counts; under srun the
    start of the job, a second later for each step of it, where SLURM tells it (from version 22.05 on).
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # heavy, and needed here only

        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        os.environ[STARTED] = store.compare_set("tracer_lightning/started", "", time.strftime(FORMAT)).decode()
    elif int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_JOB_START_TIME" in os.environ:
        start = int(os.environ["SLURM_JOB_START_TIME"]) + int(os.environ.get("SLURM_STEP_ID", 0))
        os.environ[STARTED] = time.strftime(FORMAT, time.localtime(start))
