"""The start of a distributed run: all processes are present and have the same settings."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from tracer_lightning.engine.agreement import describe_difference, shared_settings
from tracer_lightning.engine.console import console

POLL_INTERVAL = 0.1
"""Number of seconds between checks."""
ANSWER_TIMEOUT = 5.0
"""Number of seconds in which a running store answers."""
FOREIGN_TIMEOUT = 20.0
"""Number of seconds after which a listener that does not answer as a store is taken for another program."""
REMINDER_INTERVAL = 30.0
"""Number of seconds between messages of a process that waits."""
MEETINGS: Counter[tuple[str, int]] = Counter()
"""Number of earlier meetings of this process at each address and port."""


def meet_at_start(trainer: pl.Trainer, settings: Callable[[], Mapping[str, Any]], timeout: float) -> pl.Trainer:
    """Have the processes of this trainer meet before they set up their process group.

    torch would wait for a missing process without a message, deaf to signals, and does not compare settings.

    Args:
        trainer: changed in place, and returned.
        settings: returns the resolved settings of this process, when there are others to compare them with.
        timeout: seconds to wait for the other processes.
    """
    strategy: Any = trainer.strategy
    set_up = strategy.setup_environment

    def setup_environment() -> None:
        if trainer.world_size == 1 or dist.is_initialized():
            set_up()
            return
        strategy.set_world_ranks()
        environment = strategy.cluster_environment
        store = meet(
            environment.global_rank(),
            environment.world_size(),
            (environment.main_address, environment.main_port),
            shared_settings(settings()),
            timeout,
            getattr(strategy.launcher, "procs", ()),
        )
        set_up()
        del store  # torch's own shares its server, which must not end before

    strategy.setup_environment = setup_environment
    return trainer


def meet(
    rank: int,
    size: int,
    endpoint: tuple[str, int],
    settings: dict[str, str],
    timeout: float,
    children: Sequence[subprocess.Popen[Any]] = (),
) -> TCPStore:
    """Wait for the other processes, and compare settings.

    Args:
        rank: rank of this process.
        size: number of processes.
        endpoint: address and port of the first process.
        settings: names of settings to their values as strings.
        timeout: seconds to wait for the other processes.
        children: the other processes, if this one has started them.

    Returns:
        A connection that keeps the first process's store open.

    Raises:
        ValueError: the settings differ, or the port is in use; all processes raise the same message.
        OSError: a process did not arrive, or was lost.
    """
    deadline = time.monotonic() + timeout
    wait = partial(_wait, deadline=deadline, children=children)
    store = _connect(rank, size, endpoint, timeout, wait)
    messages = _own_prefix(store, endpoint)
    try:
        if messages.add(f"arrived/{rank}", 1) > 1:
            raise ValueError(f"MASTER_PORT={endpoint[1]}: another run has its rank {rank} there; choose another port")
        messages.set(f"settings/{rank}", json.dumps(settings))
        later = partial(wait, deadline=deadline + ANSWER_TIMEOUT)  # the first process may decide at its own deadline
        verdict = (
            _collect_and_compare(messages, size, timeout, wait)
            if rank == 0
            else _receive_verdict(messages, rank, timeout, later)
        )
    except RuntimeError as error:
        raise OSError(f"another process of this run was lost ({str(error).splitlines()[0]})") from error
    if verdict:
        raise ValueError(verdict)
    return store


def _own_prefix(store: TCPStore, endpoint: tuple[str, int]) -> PrefixStore:
    """The keys of this meeting in the store; torchrun's store also has those of earlier meetings."""
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)
    part = PrefixStore(f"tracer_lightning/{restarts}/{MEETINGS[endpoint]}", store)
    MEETINGS[endpoint] += 1
    return part


def _connect(rank: int, size: int, endpoint: tuple[str, int], timeout: float, wait: Callable[..., None]) -> TCPStore:
    """A connection to the first process's store, or to torchrun's."""
    address, port = endpoint
    store = partial(
        TCPStore,
        address,
        port,
        size,
        wait_for_workers=False,
        multi_tenant=True,
        timeout=timedelta(seconds=ANSWER_TIMEOUT),
    )
    if rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        try:
            return store(is_master=True)
        except RuntimeError as error:
            reason = "it is in use" if "EADDRINUSE" in str(error) else str(error).splitlines()[0]
            raise ValueError(
                f"MASTER_PORT={port}: the first process can't listen there ({reason}); choose another port"
            ) from error
    wait(
        partial(_answers, endpoint, partial(store, is_master=False), attempts=[]),
        lambda: (
            f"the first process, at {address}:{port}, did not answer within the rendezvous timeout of {timeout:g} s"
        ),
    )
    return store(is_master=False)


def _answers(endpoint: tuple[str, int], connect: Callable[[], TCPStore], attempts: list[float]) -> bool:
    """Whether a store answers.

    Args:
        endpoint: address and port of the store.
        connect: connects to the store.
        attempts: times at which something accepted a connection, to which the present one is added.

    Raises:
        ValueError: another program listens there.
    """
    try:
        socket.create_connection(endpoint, timeout=ANSWER_TIMEOUT).close()  # torch would log every failure
    except OSError:
        return False
    attempts.append(time.monotonic())
    if _is_store(connect):
        return True
    if time.monotonic() - attempts[0] > FOREIGN_TIMEOUT:
        address, port = endpoint
        raise ValueError(
            f"MASTER_PORT={port}: what listens at {address} is no process of this run; choose another port"
        )
    return False


def _is_store(connect: Callable[[], TCPStore]) -> bool:
    """Whether a store answers, tried in another process: torch waits forever for a listener that does not answer.

    A process that was forked while another thread held a lock may hang, too; the caller tries again.
    """

    def attempt() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        connect()

    process = multiprocessing.get_context("fork").Process(target=attempt, daemon=True)
    process.start()
    process.join(ANSWER_TIMEOUT)
    process.kill()
    process.join()
    return process.exitcode == 0


def _collect_and_compare(store: Any, size: int, timeout: float, wait: Callable[..., None]) -> str:
    """The verdict of the first process, which all others read: an error message, or empty if all agree."""

    def missing(kind: str) -> list[int]:
        return [rank for rank in range(1, size) if not store.check([f"{kind}/{rank}"])]

    try:
        wait(
            lambda: not missing("settings"),
            lambda: (
                f"ranks {missing('settings')} of {size} did not come within the rendezvous timeout of {timeout:g} s"
            ),
        )
        first, *others = (json.loads(store.get(f"settings/{rank}")) for rank in range(size))
        differences = (describe_difference(rank, settings, first) for rank, settings in enumerate(others, 1))
        verdict = next(filter(None, differences), "")
    except OSError as error:
        verdict = str(error)
    store.set("verdict", verdict)
    if verdict:  # the store ends with this process, so wait until all have read it
        end = time.monotonic() + ANSWER_TIMEOUT
        while set(missing("heard")) - set(missing("settings")) and time.monotonic() < end:
            time.sleep(POLL_INTERVAL)
    return verdict


def _receive_verdict(store: Any, rank: int, timeout: float, wait: Callable[..., None]) -> str:
    """The verdict of the first process."""
    wait(
        lambda: store.check(["verdict"]),
        lambda: f"the first process of this run said nothing within the rendezvous timeout of {timeout:g} s",
    )
    verdict: bytes = store.get("verdict")
    store.set(f"heard/{rank}", "")
    return verdict.decode()


def _wait(
    condition: Callable[[], bool],
    complaint: Callable[[], str],
    deadline: float,
    children: Sequence[subprocess.Popen[Any]],
) -> None:
    reminder = time.monotonic() + REMINDER_INTERVAL
    while not condition():
        for rank, child in enumerate(children, 1):
            if child.poll() is not None:
                raise OSError(f"another process of this run was lost: rank {rank}, with status {child.returncode}")
        now = time.monotonic()
        if now > deadline:
            raise OSError(complaint())
        if now > reminder:
            reminder += REMINDER_INTERVAL
            console.print(f"waiting for the other processes for {deadline - now:.0f} s more", highlight=False)
        time.sleep(POLL_INTERVAL)
