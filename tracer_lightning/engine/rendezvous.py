"""The meeting of a run's processes: all are there, and all were given the same settings."""

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

PAUSE = 0.1
"""Seconds between looks."""
ANSWER = 5.0
"""Seconds in which a store that is there answers."""
FOREIGN = 20.0
"""Seconds after which what accepts connections, and is not understood, is taken for something else."""
REMINDER = 30.0
"""Seconds after which a process says that it waits, and again."""
MEETINGS: Counter[tuple[str, int]] = Counter()
"""How often this process has met others at an address and port, which those that were started later have not."""


def meet_at_start(trainer: pl.Trainer, settings: Callable[[], Mapping[str, Any]], patience: float) -> pl.Trainer:
    """Have the processes of this trainer meet before they set up their process group.

    torch would wait for a missing process without a message, deaf to signals, and does not compare settings.

    Args:
        trainer: changed in place, and returned.
        settings: returns the resolved settings of this process, when there are others to compare them with.
        patience: seconds to wait for the other processes.
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
            patience,
            getattr(strategy.launcher, "procs", ()),
        )
        set_up()
        del store  # torch's own shares its server, which must not end before

    strategy.setup_environment = setup_environment
    return trainer


def meet(
    rank: int,
    size: int,
    place: tuple[str, int],
    settings: dict[str, str],
    patience: float,
    children: Sequence[subprocess.Popen[Any]] = (),
) -> TCPStore:
    """Wait for the other processes, and compare settings.

    Args:
        rank: of this process.
        size: number of processes.
        place: address and port of the first process.
        settings: name to value, as texts.
        patience: seconds to wait for the others.
        children: the other processes, where this one has started them.

    Returns:
        A connection that keeps the first process's store open.

    Raises:
        ValueError: the settings differ, or the port is taken; every process says the same.
        OSError: somebody did not come, or was lost.
    """
    deadline = time.monotonic() + patience
    wait = partial(_wait, deadline=deadline, children=children)
    store = _connect(rank, size, place, patience, wait)
    told = _of_this_meeting(store, place)
    try:
        if told.add(f"arrived/{rank}", 1) > 1:
            raise ValueError(f"MASTER_PORT={place[1]}: another run has its rank {rank} there; choose another port")
        told.set(f"settings/{rank}", json.dumps(settings))
        later = partial(wait, deadline=deadline + ANSWER)  # the first process may speak at the last moment
        verdict = _judge(told, size, patience, wait) if rank == 0 else _verdict(told, rank, patience, later)
    except RuntimeError as error:
        raise OSError(f"another process of this run was lost ({str(error).splitlines()[0]})") from error
    if verdict:
        raise ValueError(verdict)
    return store


def _of_this_meeting(store: TCPStore, place: tuple[str, int]) -> PrefixStore:
    """The part of the store that is this meeting's; the store of torchrun has those of earlier ones, too."""
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)
    part = PrefixStore(f"tracer_lightning/{restarts}/{MEETINGS[place]}", store)
    MEETINGS[place] += 1
    return part


def _connect(rank: int, size: int, place: tuple[str, int], patience: float, wait: Callable[..., None]) -> TCPStore:
    """The first process's store, or torchrun's."""
    address, port = place
    store = partial(
        TCPStore, address, port, size, wait_for_workers=False, multi_tenant=True, timeout=timedelta(seconds=ANSWER)
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
        partial(_answers, place, partial(store, is_master=False), heard=[]),
        lambda: f"the first process, at {address}:{port}, did not answer within rendezvous={patience:g} seconds",
    )
    return store(is_master=False)


def _answers(place: tuple[str, int], connect: Callable[[], TCPStore], heard: list[float]) -> bool:
    """Whether a store answers.

    Args:
        place: its address and port.
        connect: makes a connection.
        heard: times at which something listened there, to which the present one is added.

    Raises:
        ValueError: something listens there, and has not answered for long.
    """
    try:
        socket.create_connection(place, timeout=ANSWER).close()  # torch complains of every failure
    except OSError:
        return False
    heard.append(time.monotonic())
    if _is_store(connect):
        return True
    if time.monotonic() - heard[0] > FOREIGN:
        address, port = place
        raise ValueError(
            f"MASTER_PORT={port}: what listens at {address} is no process of this run; choose another port"
        )
    return False


def _is_store(connect: Callable[[], TCPStore]) -> bool:
    """Whether a store answers. Tried in another process: torch waits without end for a listener that says nothing.

    A process that was forked while another thread held a lock may hang, too, and is tried again by the caller.
    """

    def attempt() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        connect()

    process = multiprocessing.get_context("fork").Process(target=attempt, daemon=True)
    process.start()
    process.join(ANSWER)
    process.kill()
    process.join()
    return process.exitcode == 0


def _judge(store: Any, size: int, patience: float, wait: Callable[..., None]) -> str:
    """What the first process finds wrong, nothing where all are there with the same settings; all are told."""

    def missing(kind: str) -> list[int]:
        return [rank for rank in range(1, size) if not store.check([f"{kind}/{rank}"])]

    try:
        wait(
            lambda: not missing("settings"),
            lambda: f"ranks {missing('settings')} of {size} did not come within rendezvous={patience:g} seconds",
        )
        first, *others = (json.loads(store.get(f"settings/{rank}")) for rank in range(size))
        differences = (describe_difference(rank, settings, first) for rank, settings in enumerate(others, 1))
        verdict = next(filter(None, differences), "")
    except OSError as error:
        verdict = str(error)
    store.set("verdict", verdict)
    if verdict:  # the store ends with this process
        end = time.monotonic() + ANSWER
        while set(missing("heard")) - set(missing("settings")) and time.monotonic() < end:
            time.sleep(PAUSE)
    return verdict


def _verdict(store: Any, rank: int, patience: float, wait: Callable[..., None]) -> str:
    """What the first process says."""
    wait(
        lambda: store.check(["verdict"]),
        lambda: f"the first process of this run said nothing within rendezvous={patience:g} seconds",
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
    reminder = time.monotonic() + REMINDER
    while not condition():
        for rank, child in enumerate(children, 1):
            if child.poll() is not None:
                raise OSError(f"another process of this run was lost: rank {rank}, with status {child.returncode}")
        now = time.monotonic()
        if now > deadline:
            raise OSError(complaint())
        if now > reminder:
            reminder += REMINDER
            console.print(f"waiting for the other processes for {deadline - now:.0f} s more", highlight=False)
        time.sleep(PAUSE)
