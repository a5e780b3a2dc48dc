"""Too little memory is said to be that, wherever it runs out."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.commands.helpers import TINY
from tests.commands.test_cli import ROOT
from tracer_lightning.config.errors import print_error, setting
from tracer_lightning.engine.memory import lacks_memory, shortage

LIMITED = """
import resource, runpy, sys
import tracer_lightning.engine.run
megabytes, *sys.argv = sys.argv[1:]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (int(megabytes) << 20),) * 2)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A program that runs a script with so much memory more than its imports take."""
HUGE = 1 << 62


def limited(cwd, megabytes, *overrides):
    command = [sys.executable, "-W", "ignore", "-c", LIMITED, str(megabytes), str(ROOT / "train.py"), *overrides]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "", "HOME": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("request_memory", "words"),
    [
        (lambda: torch.empty(1 << 55), f"kernel: tried to allocate {1 << 57} bytes"),
        (lambda: np.empty(1 << 55), "kernel: Unable to allocate "),
        (lambda: bytearray(HUGE), "kernel: "),
    ],
)
def test_the_setting_is_named_whoever_asked(capsys, request_memory, words):
    with pytest.raises(MemoryError) as lack, setting("kernel"):
        request_memory()
    print_error(lack.value)
    assert capsys.readouterr().err.startswith(f"error: out of memory: {words}")


@pytest.mark.parametrize(
    "error",
    [
        OSError(12, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("can't start new thread"),
        SystemError("<function f> error return without exception set"),
        RuntimeError("Caught MemoryError in DataLoader worker process 0.\nTraceback:\nMemoryError: std::bad_alloc"),
    ],
)
def test_libraries_say_it_in_many_ways(error):
    assert lacks_memory(error)
    assert shortage(error).startswith("out of memory")


@pytest.mark.parametrize("error", [None, OSError(28, "No space left"), RuntimeError("shapes differ"), ValueError("x")])
def test_other_errors_are_not_taken_for_it(error):
    assert not lacks_memory(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("megabytes", "overrides", "words"),
    [
        (300, ["backbone.vision_cfg.width=8192"], "backbone: tried to allocate"),
        pytest.param(
            *(60, [], "there is no checkpoint yet; the same command with resume=auto continues"),
            marks=pytest.mark.exhaustive,
        ),
        (150, ["data.num_workers=2"], ""),
    ],
)
def test_a_limit_on_memory_is_named(tmp_path, megabytes, overrides, words):
    result = limited(tmp_path, megabytes, *TINY, *overrides)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 1
    assert len(errors) == 1, result.stderr[-3000:]
    assert errors[0].startswith("error: out of memory")
    assert "(ulimit -v allows " in errors[0]
    assert words in errors[0]
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_libraries_that_do_not_fit_are_one_line(tmp_path):
    command = f"ulimit -v 2000000; {sys.executable} {ROOT / 'train.py'} run=x"
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
    result = subprocess.run(["/bin/bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: out of memory (ulimit -v allows 1953 MiB): ")
