"""Processes meet before they train; threads stand for them here, and tests/faults has whole runs."""

import socket
import subprocess
import sys
import threading
from collections import Counter

import pytest

from tracer_lightning.engine import rendezvous
from tracer_lightning.engine.rendezvous import meet

SETTINGS = {"optimizer.lr": "0.001", "seed": "0"}


class Uncounted(Counter):
    """Threads would count the meetings of all processes."""

    def __setitem__(self, place, count):
        pass


@pytest.fixture(autouse=True)
def one_meeting_per_process(monkeypatch):
    monkeypatch.setattr(rendezvous, "MEETINGS", Uncounted())


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def meeting(port, *settings, size=None, timeout=20.0, children=(), ranks=(0, 1, 2)):
    """What each process ends with: its store, or its error."""
    ends = {}

    def process(rank, values):
        try:
            ends[rank] = meet(rank, size or len(settings), ("127.0.0.1", port), values, timeout, children)
        except (ValueError, OSError) as error:
            ends[rank] = error

    threads = [threading.Thread(target=process, args=pair) for pair in zip(ranks, settings, strict=False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_processes_with_the_same_settings_go_on(port):
    ends = meeting(port, SETTINGS, SETTINGS, SETTINGS)
    assert not [end for end in ends.values() if isinstance(end, Exception)]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"optimizer.lr": "0.5", "seed": "0"}, "optimizer.lr: rank 1 has 0.5 and rank 0 has 0.001"),
        ({"optimizer.lr": "0.001"}, "seed: rank 1 has absent and rank 0 has 0"),
        ({**SETTINGS, "method.train": '"text"'}, 'method.train: rank 1 has "text" and rank 0 has absent'),
    ],
)
def test_every_process_says_which_setting_differs(port, other, words):
    ends = meeting(port, SETTINGS, other, SETTINGS)
    assert all(isinstance(end, ValueError) and str(end).startswith(words) for end in ends.values()), ends
    assert len(ends) == 3


@pytest.mark.slow
def test_a_process_that_does_not_come_is_named_to_all(port):
    ends = meeting(port, SETTINGS, SETTINGS, size=3, timeout=2.0)
    assert [str(end) for end in ends.values()] == [
        "ranks [2] of 3 did not come within the rendezvous timeout of 2 s"
    ] * 2


@pytest.mark.slow
def test_the_first_process_may_be_the_one_that_does_not_come(port):
    (end,) = meeting(port, SETTINGS, size=2, timeout=1.0, ranks=[1]).values()
    assert str(end) == f"the first process, at 127.0.0.1:{port}, did not answer within the rendezvous timeout of 1 s"


def test_a_child_that_has_ended_is_not_waited_for(port):
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    child.wait()
    (end,) = meeting(port, SETTINGS, size=2, children=[child]).values()
    assert str(end) == "another process of this run was lost: rank 1, with status 3"


@pytest.mark.slow
def test_a_port_in_use_is_one_line_on_each_side(port, monkeypatch):
    monkeypatch.setattr(rendezvous, "FOREIGN_TIMEOUT", 0.5)
    with socket.socket() as squatter:
        squatter.bind(("0.0.0.0", port))
        squatter.listen()
        ends = meeting(port, SETTINGS, SETTINGS)
    assert "the first process can't listen there (it is in use); choose another port" in str(ends[0])
    assert "is no process of this run; choose another port" in str(ends[1])
    assert all(isinstance(end, ValueError) and str(end).startswith(f"MASTER_PORT={port}: ") for end in ends.values())


def test_a_port_of_another_run_is_noticed(port):
    ends = meeting(port, SETTINGS, SETTINGS)
    (end,) = meeting(port, SETTINGS, size=2, ranks=[1]).values()
    assert str(end) == f"MASTER_PORT={port}: another run has its rank 1 there; choose another port"
    assert len(ends) == 2  # whose store is open still
