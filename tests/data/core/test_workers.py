"""``DataLoader`` workers: signals, lost workers, batches that can't be sent."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader

from tracer_lightning.data.core.workers import init_worker
from tracer_lightning.engine.interruption_messages import lost_process
from tracer_lightning.engine.memory import lacks_memory

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class SlowDataset(torch.utils.data.Dataset):
    def __len__(self):
        return 4000

    def __getitem__(self, index):
        time.sleep(0.005)
        return index


def read_through_signals(connection):
    """Send the workers' ids, then the signals received and the indices of the batches until some after the second."""
    os.setsid()
    received, indices, remaining = [], [], 12
    for signum in SIGNALS:
        signal.signal(signum, lambda signum, frame: received.append(signum))
    try:
        for batch in DataLoader(SlowDataset(), 4, num_workers=2, worker_init_fn=init_worker):
            if len(indices) == len(batch):  # the second batch comes from the second worker: both have begun
                connection.send([child.pid for child in multiprocessing.active_children()])
            indices += batch.tolist()
            remaining -= len(received) >= 2
            if not remaining:
                break
        connection.send((received, indices))
    except (RuntimeError, OSError, EOFError) as error:
        connection.send((lost_process(error), str(error)))


@pytest.fixture
def reader():
    """Process in a group of its own that reads with two workers, and the connection to it."""
    context = multiprocessing.get_context("fork")
    connection, child_connection = context.Pipe()
    process = context.Process(target=read_through_signals, args=(child_connection,))
    process.start()
    yield process, connection
    process.kill()
    process.join()


@pytest.mark.parametrize("signum", SIGNALS)
def test_workers_survive_signals_to_the_process_group(reader, signum):
    process, connection = reader
    connection.recv()
    for _ in range(2):  # as SLURM sends SIGTERM at a time limit
        os.killpg(process.pid, signum)
        time.sleep(0.1)
    assert connection.poll(60)
    received, indices = connection.recv()
    assert received == [signum] * 2
    assert indices == list(range(len(indices)))


def test_a_killed_worker_raises_an_error(reader):
    _, connection = reader
    worker, *_ = connection.recv()
    os.kill(worker, signal.SIGKILL)
    assert connection.poll(60)
    assert connection.recv()[0] == "a loading process"


class UnsendableDataset(torch.utils.data.Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self

    def __reduce__(self):
        raise self.error


def raised_error(loader):
    """The error without its traceback, whose frames would keep the iterator and its worker alive."""
    try:
        list(loader)
    except Exception as error:
        return error.with_traceback(None)


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), RuntimeError("no memory to share")])
def test_a_batch_that_can_not_be_sent_raises_an_error(error):
    loader = DataLoader(
        UnsendableDataset(error), None, num_workers=1, worker_init_fn=init_worker, multiprocessing_context="fork"
    )
    raised = raised_error(loader)
    assert type(raised) is type(error)
    assert "in DataLoader worker process 0" in str(raised)
    assert lacks_memory(raised) == isinstance(error, OSError)
