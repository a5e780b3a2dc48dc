"""What becomes of a command whose output nobody can read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.helpers import TINY

ROOT = Path(__file__).parent.parent.parent
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")


def shell(command, cwd, script="train.py"):
    """Run a line of shell in which SCRIPT is the command."""
    path = ROOT / script if script == "train.py" else ROOT / "scripts" / script
    return subprocess.run(
        ["bash", "-c", command.replace("SCRIPT", f"{sys.executable} {path}")],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "command", ["SCRIPT --help | true", pytest.param("SCRIPT --cfg job | true", marks=pytest.mark.slow)]
)
def test_a_reader_who_leaves_is_no_fault(tmp_path, command):
    result = shell(f"{command}; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert (result.stdout, result.stderr) == ("0\n", "")


@pytest.mark.slow
@needs_full
def test_a_full_device_is_named(tmp_path):
    result = shell("SCRIPT --cfg job > /dev/full", tmp_path)
    assert result.returncode == 1
    assert result.stderr == (
        "error: standard output can't be written: No space left on device; what follows is discarded\n"
    )


@pytest.mark.slow
@needs_full
def test_a_full_device_for_errors_keeps_the_status(tmp_path):
    result = shell("SCRIPT optimiser.lr=1 2> /dev/full", tmp_path)
    assert result.returncode == 1
    assert result.stdout == (
        "error: standard error can't be written: No space left on device; what follows is discarded\n"
    )


@pytest.mark.slow
def test_closed_streams_change_nothing(tmp_path):
    result = shell("SCRIPT optimiser.lr=1 >&- 2>&- <&-", tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "script", [f"{name}.py" for name in ("collect", "kernels", "make_shards", "theory", "toy", "dynamics")]
)
def test_all_commands_bear_it(tmp_path, script):
    result = shell("SCRIPT --help | true; echo ${PIPESTATUS[0]}; SCRIPT --help >&-; echo $?", tmp_path, script)
    assert (result.stdout, result.stderr) == ("0\n0\n", "")
    assert shell("SCRIPT --help > /dev/full", tmp_path, script).returncode == 1


@pytest.mark.slow
@needs_full
def test_a_run_is_not_lost_with_its_terminal(tmp_path):
    """It is complete; where its output was lost for another reason than a reader who left, the status says so."""
    options = " ".join((*TINY, "trainer.max_epochs=1", "trainer.limit_test_batches=1"))
    left = shell(f"SCRIPT {options} run=left | true; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert left.stdout == "0\n"
    full = shell(f"SCRIPT {options} run=full > /dev/full", tmp_path)
    assert full.returncode == 1
    errors = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["error: standard output can't be written: No space left on device; what follows is discarded"]
    for run in ("left", "full"):
        assert (tmp_path / "outputs/digits" / run / "results.json").exists()
