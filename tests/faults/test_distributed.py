"""A lost process ends the others, and folders are agreed on."""

import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.commands.helpers import TINY
from tests.faults.processes import (
    DDP,
    ENDLESS,
    ROOT,
    TORCHRUN,
    children,
    error_lines,
    finish,
    start,
    trains,
    wait_until,
)
from tracer_lightning.engine.launched import FORMAT, STARTED, agree_on_start

BOUND = 60
"""Seconds within which all is over, on a machine that is busy with other things."""


def trained(pid):
    """Processes below ``pid`` that train: launchers have other children, too."""
    processes = [p for child in children(pid) for p in [child, *children(child)]]
    return [p for p in processes if b"train.py" in Path(f"/proc/{p}/cmdline").read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["second", pytest.param("first", marks=pytest.mark.exhaustive)])
def test_a_lost_process_ends_a_run_that_lightning_started(tmp_path, lost):
    process = start(*ENDLESS, *DDP, "run=x", cwd=tmp_path)
    wait_until(trains(tmp_path / "outputs/digits/x"), process)
    os.kill(process.pid if lost == "first" else trained(process.pid)[0], signal.SIGKILL)
    began = time.monotonic()
    status, _, errors = finish(process, BOUND)
    assert status != 0
    assert time.monotonic() - began < BOUND
    assert any("another process of this run was lost" in line for line in error_lines(errors)), errors[-2000:]
    assert any("last good checkpoint" in line or "no checkpoint yet" in line for line in error_lines(errors))


@pytest.mark.exhaustive
def test_a_lost_process_ends_a_run_of_torchrun(tmp_path):
    process = start(*ENDLESS, *DDP, "run=x", cwd=tmp_path, launcher=TORCHRUN)
    wait_until(trains(tmp_path / "outputs/digits/x"), process)
    os.kill(trained(process.pid)[-1], signal.SIGKILL)
    status, _, _ = finish(process, BOUND)
    assert status == 1


def by_hand(tmp_path, *different, **options):
    """Start a run's ranks one by one, as a script without a launcher does; more settings for each of them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", "WORLD_SIZE": str(len(different))}
    processes = []
    for rank, settings in enumerate(different):
        settings = [*DDP, f"trainer.devices={len(different)}", *settings]
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        processes.append(start(*settings, cwd=tmp_path, **common, **ranks, **options))
    return processes


@pytest.mark.slow
@pytest.mark.parametrize("script", ["train.py", pytest.param("scripts/evaluate.py", marks=pytest.mark.exhaustive)])
def test_processes_with_different_settings_do_not_begin(tmp_path, script):
    settings = (*ENDLESS, "run=x") if script == "train.py" else ("run=x",)
    processes = by_hand(tmp_path, settings, (*settings, "seed=5"), script=ROOT / script)
    for process in processes:
        status, _, errors = finish(process)
        assert status == 1
        assert error_lines(errors) == [
            "error: seed: rank 1 has 5 and rank 0 has 0; give all processes of a run the same settings"
        ]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_a_process_lost_before_they_have_met_is_not_waited_for_longer_than_allowed(tmp_path, lost):
    processes = by_hand(tmp_path, *[(*ENDLESS, "run=x", "rendezvous_timeout=20")] * 2)
    processes[lost].kill()
    status, _, errors = finish(processes[1 - lost])
    finish(processes[lost])
    (line,) = error_lines(errors)
    assert status == 1
    assert "Traceback" not in errors
    assert (
        "did not answer within" if lost == 0 else "ranks [1] of 2 did not come within the rendezvous timeout of 20"
    ) in line


@pytest.mark.exhaustive
@pytest.mark.parametrize("lost", ["first", "second"])
def test_a_process_lost_before_they_have_met_ends_a_run_that_lightning_started(tmp_path, lost):
    process = start(*ENDLESS, *DDP, "run=x", cwd=tmp_path)
    wait_until(lambda: trained(process.pid), process)
    os.kill(process.pid if lost == "first" else trained(process.pid)[0], signal.SIGKILL)
    status, _, errors = finish(process, BOUND)
    assert status == (-signal.SIGKILL if lost == "first" else 1)
    assert any("another process of this run was lost" in line for line in error_lines(errors)), errors[-2000:]


@pytest.mark.slow
def test_processes_that_start_at_different_seconds_share_a_folder(tmp_path):
    late = tmp_path / "late.py"
    late.write_text(
        "import os, runpy, sys, time\n"
        "time.sleep(2.5 * int(os.environ['RANK']))\n"
        f"sys.argv[0] = {str(ROOT / 'train.py')!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    process = start(*TINY, *DDP, "callbacks.progress.refresh_rate=0", cwd=tmp_path, launcher=TORCHRUN, script=late)
    status, _, errors = finish(process)
    assert status == 0, errors[-3000:]
    (folder,) = (tmp_path / "outputs/digits").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    assert json.loads((folder / "results.json").read_text())["method"] == "tracer"


def test_steps_of_a_slurm_job_have_the_job_s_time(monkeypatch):
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_START_TIME": "1700000000", "SLURM_STEP_ID": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(STARTED, "")
    agree_on_start()
    assert os.environ[STARTED] == time.strftime(FORMAT, time.localtime(1_700_000_003))


def test_a_single_process_agrees_with_nobody(monkeypatch):
    monkeypatch.delenv(STARTED, raising=False)
    agree_on_start()
    assert STARTED not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), pytest.param(TORCHRUN, marks=pytest.mark.exhaustive)])
def test_a_signal_to_all_processes_stops_them_at_one_step(tmp_path, launcher):
    """Sent to the first process by Lightning's launcher's user, to the launcher under torchrun."""
    process = start(*ENDLESS, *DDP, "run=x", cwd=tmp_path, launcher=launcher)
    folder = tmp_path / "outputs/digits/x"
    wait_until(trains(folder), process)
    process.send_signal(signal.SIGTERM)
    status, output, errors = finish(process, BOUND)
    assert status == (143 if not launcher else 1), errors[-2000:]
    assert "stopped by SIGTERM at step" in output
    assert (folder / "checkpoints/last.ckpt").exists()
