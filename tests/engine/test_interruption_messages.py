"""What the errors of a run mean."""

import multiprocessing

import pytest
import torch
import torch.multiprocessing

from tracer_lightning.engine.interruption_messages import lost_process


def send_and_wait(queue):
    queue.put(torch.ones(3))
    multiprocessing.Event().wait()


def error_of_a_batch_from_a_dead_process():
    context = multiprocessing.get_context("fork")
    queue = torch.multiprocessing.get_context("fork").Queue()
    process = context.Process(target=send_and_wait, args=(queue,))
    process.start()
    assert queue._reader.poll(60)
    process.kill()
    process.join()
    with pytest.raises((OSError, EOFError)) as caught:
        queue.get()
    return caught.value


def test_a_process_that_died_after_it_sent_a_batch_was_lost():
    assert lost_process(error_of_a_batch_from_a_dead_process()) == "a loading process"


@pytest.mark.parametrize(
    ("error", "process"),
    [
        (RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed."), "a loading process"),
        (RuntimeError("Connection closed by peer"), "another process of this run"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (FileNotFoundError("no such file"), None),
        (EOFError("no data left in file"), None),
    ],
)
def test_only_lost_processes_are_named(error, process):
    assert lost_process(error) == process
