"""Signals in every part of a run: the status, and nothing is lost."""

import contextlib
import os
import signal
import time
from functools import partial

import lightning.pytorch as pl
import pytest

from tests.commands.helpers import hydra_context
from tests.comparing import differences, outcome
from tests.faults.processes import ENDLESS, children, error_lines, finish, start, trains, wait_until
from tests.faults.whole_runs import run
from tracer_lightning.engine.signals import Stopped

send = partial(os.kill, os.getpid())


@pytest.fixture(autouse=True)
def hydra():
    with hydra_context():
        yield


@pytest.fixture(scope="module")
def unbroken(finished_run):
    return outcome(finished_run.folder)


class Signal(pl.Callback):
    """Send a signal in a hook, when it is called at a step."""

    def __init__(self, hook, step, signum=signal.SIGTERM):
        def act(trainer, *_, **__):
            if trainer.global_step == step:
                send(signum)

        setattr(self, hook, act)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "step"),
    [
        ("on_before_backward", 2),  # in a step, in the middle of an epoch
        ("on_validation_batch_start", 4),
        ("on_train_end", 8),
    ],
)
def test_a_stopped_run_continues_to_the_same_end(tmp_path, unbroken, hook, step):
    with pytest.raises(Stopped) as stop:
        run(tmp_path, callbacks=[Signal(hook, step)])
    assert stop.value.code == 143
    run(tmp_path, "resume=auto")
    assert not differences(unbroken, outcome(tmp_path / "run"))


def test_a_signal_in_the_first_evaluation_stops_at_once(tmp_path, capsys):
    with pytest.raises(Stopped) as stop:
        run(tmp_path, callbacks=[Signal("on_test_batch_start", 0, signal.SIGUSR1)])
    assert stop.value.code == 138
    assert "stopped by SIGUSR1 at step 0; " in capsys.readouterr().out
    assert not list((tmp_path / "run").rglob("*.ckpt"))


class InTheLastTest(pl.Callback):
    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if not pl_module.tests_untrained and dataloader_idx == 3:
            send(signal.SIGTERM)


@pytest.mark.slow
def test_a_signal_in_the_last_evaluation_loses_nothing(tmp_path, unbroken):
    with pytest.raises(Stopped) as stop:
        run(tmp_path, callbacks=[InTheLastTest()])
    assert stop.value.code == 143
    assert not (tmp_path / "run/results.json").exists()
    run(tmp_path, "resume=auto")
    assert not differences(unbroken, outcome(tmp_path / "run"))


@pytest.mark.exhaustive
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_ends_with_the_signal_s_status(tmp_path, signum, status):
    process = start(*ENDLESS, "run=x", cwd=tmp_path)
    wait_until(trains(tmp_path / "outputs/digits/x"), process)
    process.send_signal(signum)
    actual, output, errors = finish(process)
    assert (actual, error_lines(errors)) == (status, [])
    assert "Traceback" not in errors
    assert f"stopped by {signal.Signals(signum).name} at step" in output
    assert "the same command with resume=auto continues" in output
    assert (tmp_path / "outputs/digits/x/checkpoints/last.ckpt").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "status"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.exhaustive),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGUSR1, 138, marks=pytest.mark.exhaustive),
    ],
)
def test_a_signal_to_the_loading_processes_too_loses_nothing(tmp_path, signum, status):
    """As scancel and a terminal send it."""
    process = start(*ENDLESS, "run=x", "data.num_workers=2", cwd=tmp_path)
    wait_until(trains(tmp_path / "outputs/digits/x"), process)
    os.killpg(process.pid, signum)
    actual, output, errors = finish(process)
    assert (actual, error_lines(errors)) == (status, []), errors[-2000:]
    assert "Traceback" not in errors
    assert errors.count("stopping after this step") == 1
    assert f"stopped by {signal.Signals(signum).name} at step" in output
    assert (tmp_path / "outputs/digits/x/checkpoints/last.ckpt").exists()


@pytest.mark.slow
def test_a_lost_loading_process_is_one_line(tmp_path):
    process = start(*ENDLESS, "run=x", "data.num_workers=2", cwd=tmp_path)
    wait_until(trains(tmp_path / "outputs/digits/x", 8), process)
    while process.poll() is None:  # one that has nothing left to load is not missed
        for worker in children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.02)
    status, _, errors = finish(process)
    (line,) = error_lines(errors)
    assert status == 1
    assert "a loading process was lost" in line
    assert "last good checkpoint" in line or "no checkpoint yet" in line
