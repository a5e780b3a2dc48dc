"""``DataLoader`` workers: signals, lost workers, batches that can't be sent."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch.utils.data import DataLoader

from tests.faults.processes import ROOT, children
from tracer_lightning.data.core.workers import init_worker
from tracer_lightning.engine.memory import lacks_memory

LOOP = """
import os, signal, sys, time
import torch
from torch.utils.data import DataLoader
from tracer_lightning.data.core.workers import init_worker

class Slow(torch.utils.data.Dataset):
    def __len__(self):
        return 400
    def __getitem__(self, index):
        time.sleep(0.01)
        return index

received = []
for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(signum, lambda signum, frame: received.append(signum))
seen = 0
for batch in DataLoader(Slow(), 4, num_workers=2, worker_init_fn=init_worker):
    seen += len(batch)
    if seen == 40:
        print("started", flush=True)
print(seen, [int(signum) for signum in received], flush=True)
"""


@pytest.mark.parametrize(
    "signum",
    [signal.SIGTERM, *(pytest.param(signum, marks=pytest.mark.slow) for signum in (signal.SIGINT, signal.SIGUSR1))],
)
def test_workers_survive_signals_to_the_process_group(signum):
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "started\n"
    for _ in range(2):  # as SLURM sends SIGTERM at a time limit
        os.killpg(process.pid, signum)
        time.sleep(0.3)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output == f"400 {[int(signum)] * 2}\n"


def test_a_killed_worker_raises_an_error():
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "started\n"
    (worker, *_) = children(process.pid)
    os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert "DataLoader worker (pid" in errors


class Unsendable(torch.utils.data.Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self

    def __reduce__(self):
        raise self.error


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), RuntimeError("no memory to share")])
def test_a_batch_that_can_not_be_sent_raises_an_error(error):
    loader = DataLoader(
        Unsendable(error), None, num_workers=1, worker_init_fn=init_worker, multiprocessing_context="fork"
    )
    with pytest.raises(type(error), match="in DataLoader worker process 0") as raised:
        list(loader)
    assert lacks_memory(raised.value) == isinstance(error, OSError)
