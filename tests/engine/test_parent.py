"""Ranks end with the process that started them, and with no other."""

import os
import subprocess
import sys

import pytest

from tests.faults.processes import ROOT

RANK = """
import time
from tracer_lightning.engine import parent
parent.GRACE_PERIOD = 0.0
parent.end_with_launcher()
print("begins", flush=True)
time.sleep(3)
print("ends", flush=True)
"""
LAUNCHER = """
import os, subprocess, sys
rank = dict(os.environ, LOCAL_RANK="1", TRACER_STARTED_BY=str(os.getpid()))
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=rank)
input()
"""


@pytest.mark.slow
@pytest.mark.parametrize("gone", [True, False])
def test_a_rank_of_another_launcher_is_left_alone(gone):
    """torchrun's child has the variable from a process of a sweep, say, which is not its parent."""
    starter = "1" if gone else str(os.getpid())
    environment = dict(os.environ, RANK="1", LOCAL_RANK="1", TRACER_STARTED_BY=starter)
    command = f"{sys.executable} -c '{RANK}' & wait"  # its parent is the shell
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.stdout == "begins\nends\n", result.stderr


def test_a_rank_whose_launcher_was_gone_before_it_looked_ends():
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    environment |= {"LOCAL_RANK": "1", "TRACER_STARTED_BY": str(os.getpid())}
    command = f"{sys.executable} -c '{RANK}' & wait"  # its parent is the shell
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "ends" not in result.stdout
    assert "another process of this run was lost" in result.stderr


def test_a_rank_ends_with_its_launcher():
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, RANK], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout.readline() == "begins\n"
    launcher.kill()
    assert launcher.stdout.read() == ""  # the rank has its end of the pipe
