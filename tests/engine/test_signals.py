"""What signals do, and whom they are left to."""

import os
import signal
import subprocess
import sys

import pytest

from tracer_lightning.engine.signals import Stopped, StopSignals


def send(signum):
    os.kill(os.getpid(), signum)


@pytest.fixture(autouse=True)
def _interrupts():
    """Interrupts raise KeyboardInterrupt, also where a background job began the tests, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def restored():
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130)])
def test_a_signal_stops_at_once_where_nothing_is_to_be_saved(signum, status):
    with StopSignals(), pytest.raises(Stopped) as stop:
        send(signum)
    assert stop.value.code == status
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_waits_where_it_is_told_to_and_repetitions_change_nothing():
    with StopSignals() as signals:
        signals.deferred = True
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert signals.requested == signal.SIGTERM
        with pytest.raises(Stopped):
            signals.act()
    assert signals.requested is None


def test_contexts_nest():
    with StopSignals() as signals:
        with signals:
            pass
        with pytest.raises(Stopped):
            send(signal.SIGTERM)


@pytest.mark.slow
def test_a_second_interrupt_ends_the_process():
    code = (
        "import os, signal, sys, time\n"
        "from tracer_lightning.engine.signals import StopSignals\n"
        "with StopSignals() as signals:\n"
        "    signals.deferred = True\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert result.returncode == -signal.SIGINT
    assert result.stdout == "still here\n"
    assert result.stderr == "SIGINT: stopping after this step (press Ctrl-C again to stop at once)\n"


def test_handlers_of_others_are_respected(restored):
    """As submitit has them: one that ignores SIGTERM, one that puts the job into the queue and exits."""
    called = []
    signal.signal(signal.SIGTERM, lambda *_: called.append("bypassed"))
    signal.signal(signal.SIGUSR2, lambda *_: called.append("requeued"))
    with StopSignals() as signals:
        send(signal.SIGTERM)
        assert (called, signals.requested) == (["bypassed"], None)
        signals.deferred = True
        send(signal.SIGUSR2)
        assert (called, signals.requested) == (["bypassed"], signal.SIGUSR2)
        signals.act()
        assert called == ["bypassed", "requeued"]


def test_what_lightning_puts_in_place_is_replaced(restored):
    with StopSignals() as signals:
        ours = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signals.install()
        assert signal.getsignal(signal.SIGTERM) == ours
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
