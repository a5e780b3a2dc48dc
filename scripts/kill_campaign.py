"""Kill a small run at random moments, continue it, and compare its end with an unbroken one's.

    python scripts/kill_campaign.py --kills 100 --out /tmp/campaign

Most runs are children forked from a process that has imported everything, so that a kill costs seconds; ``--commands``
of the kills are of real ``python train.py``. Every kill is SIGKILL, after a random delay within the phase that was hit
least so far. It ends with status 1 where a run did not end bit for bit as the unbroken one did.
"""

from __future__ import annotations

import argparse
import csv
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lightning.pytorch as pl  # noqa: E402
import torch  # noqa: E402
from hydra import compose, initialize_config_dir  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from tracer_lightning.storage import AtomicCheckpointIO  # noqa: E402
from tracer_lightning.training import run as run_module  # noqa: E402

SMALL = (
    *("backbone.vision_cfg.layers=1", "backbone.vision_cfg.width=32", "backbone.text_cfg.layers=1"),
    *("trainer.max_epochs=3", "trainer.log_every_n_steps=1", "scheduler.warmup_steps=1", "data.batch_size=256"),
    *(
        "trainer.limit_test_batches=1",
        "callbacks.checkpoint.every_n_train_steps=1",
        "callbacks.progress.refresh_rate=0",
    ),
)
PRETRAINING = ["backbone.text_cfg.layers=1", "trainer.max_steps=4", "scheduler.warmup_steps=1", "data.batch_size=256"]
PRETRAINING += ["floor=0.0", *SMALL[-3:]]
PHASES = ("step", "checkpoint", "evaluation", "between epochs", "prerequisite")
LENGTHS = {"step": 0.3, "checkpoint": 0.15, "evaluation": 1.0, "between epochs": 0.02, "prerequisite": 2.0}
"""Seconds within which a kill comes once its phase has begun; about as long as the phase takes."""
BY_THE_CLOCK = "command, by the clock"


class Phases(pl.Callback):
    """Tell the parent through shared memory where the run is.

    Args:
        board: a byte for the phase, and one for how many have begun.
    """

    def __init__(self, board: mmap.mmap) -> None:
        self.board = board

    def enter(self, phase: str, required: bool = False) -> None:
        """Begin a phase."""
        self.board[0] = 1 + PHASES.index("prerequisite" if required else phase)
        self.board[1] = (self.board[1] + 1) % 256

    def _hook(self, trainer: pl.Trainer, phase: str) -> None:
        self.enter(phase, "prerequisites" in trainer.default_root_dir)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """A step begins."""
        self._hook(trainer, "step")

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Steps are over; a checkpoint follows."""
        self._hook(trainer, "between epochs")

    def on_validation_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Evaluation within training."""
        self._hook(trainer, "evaluation")

    on_test_start = on_validation_start


def watched(board: mmap.mmap) -> None:
    """Have runs of this process tell where they are."""
    phases, build, save = Phases(board), run_module.build_trainer, AtomicCheckpointIO.save_checkpoint

    def build_trainer(cfg: DictConfig, **options: Any) -> pl.Trainer:
        trainer = build(cfg, **options)
        trainer.callbacks.insert(0, phases)
        return trainer

    def save_checkpoint(self: AtomicCheckpointIO, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        phases.enter("checkpoint", "prerequisites" in str(path))
        save(self, checkpoint, path, storage_options)

    run_module.build_trainer = build_trainer
    AtomicCheckpointIO.save_checkpoint = save_checkpoint  # type: ignore[method-assign]


def settings(folder: Path, required: bool) -> DictConfig:
    """A run in ``folder``, continued where there is something to continue."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    overrides = [f"paths.outputs={folder}", f"paths.output_dir={folder}/run", "run=run", "resume=auto", *SMALL]
    cfg = compose("train", [*overrides, *([] if required else ["prerequisite=null"])])
    if required:
        cfg.prerequisite.overrides = PRETRAINING
    return cfg


def child(cfg: DictConfig, board: mmap.mmap) -> None:
    """Run to the end, and leave without the parent's clean-up."""
    status = 1
    try:
        log = os.open(f"{cfg.paths.outputs}/log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        watched(board)
        run_module.run(cfg)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def forked(cfg: DictConfig, target: tuple[str, int, float] | None) -> str | None:
    """Run in a child; the phase in which it was killed, or None where it came to its end.

    Args:
        cfg: the run.
        target: phase, how many of it are let pass, and seconds to wait within the next.
    """
    board = mmap.mmap(-1, 2)
    process = os.fork()
    if process == 0:
        child(cfg, board)
    seen, passed, due = 0, 0, float("inf")
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            if status:
                raise SystemExit(f"a run failed by itself: see {cfg.paths.outputs}/log.txt")
            return None
        if target is not None and board[1] != seen:
            seen = board[1]
            if board[0] and PHASES[board[0] - 1] == target[0] and due == float("inf"):
                passed += 1
                due = time.monotonic() + target[2] if passed > target[1] else due
        if time.monotonic() >= due:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return PHASES[board[0] - 1]
        time.sleep(0.0005)


def command(folder: Path, seconds: float) -> str | None:
    """The real command, killed after so long."""
    overrides = [f"paths.outputs={folder}", f"hydra.run.dir={folder}/run", "run=run", "resume=auto", *SMALL]
    arguments = [sys.executable, str(ROOT / "train.py"), *overrides, "prerequisite=null"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=folder)
        try:
            if process.wait(seconds):
                raise SystemExit(f"a command failed by itself: see {folder}/log.txt")
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return BY_THE_CLOCK
    return None


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two nested values differ, to the last bit."""
    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [path]
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{path}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for i, (a, b) in pairs for found in differences(a, b, f"{path}[{i}]")]
    return [] if one == other else [path]


def outcome(folder: Path) -> dict[str, Any]:
    """All that must be equal."""
    checkpoint = torch.load(folder / "run/checkpoints/last.ckpt", weights_only=True)
    results = json.loads((folder / "run/results.json").read_text())
    with (folder / "run/metrics.csv").open(newline="") as file:
        rows = sorted(sorted((k, v) for k, v in row.items() if v) for row in csv.DictReader(file))
    parts = (
        "state_dict",
        "optimizer_states",
        "lr_schedulers",
        "DigitsDataModule",
        "global_step",
        "epoch",
        "total_steps",
    )
    stale = sorted(path.name for path in (folder / "run").rglob("*") if path.name.endswith((".tmp", "next.ckpt")))
    kept = {name: value for name, value in results.items() if name not in ("seconds", "start")}
    return {**{part: checkpoint[part] for part in parts}, "metrics": rows, "results": kept, "stale": stale}


def campaign(kills: int, commands: int, out: Path, draw: random.Random) -> dict[str, Any]:
    """Kill so often; counts by phase, and what differed."""
    unbroken = {required: out / f"unbroken{required:d}" for required in (False, True)}
    began = time.monotonic()
    for required, folder in unbroken.items():
        assert forked(settings(folder, required), None) is None
    expected = {required: outcome(folder) for required, folder in unbroken.items()}
    took = time.monotonic()
    if commands:
        command(out / "unbroken command", 600)
        assert not differences(expected[False], outcome(out / "unbroken command"))
    took = time.monotonic() - took
    landed: Counter[str] = Counter()
    wrong: list[str] = []
    runs = 0
    while landed.total() < kills:
        folder, required, real = out / f"run{runs}", runs % 3 == 2, landed[BY_THE_CLOCK] < commands
        required = required and not real
        runs += 1
        while True:
            phase = min(PHASES if required else PHASES[:-1], key=lambda name: (landed[name], draw.random()))
            enough = landed.total() >= kills
            target = None if enough else (phase, draw.randrange(3), draw.uniform(0, LENGTHS[phase]))
            if real:
                more = landed[BY_THE_CLOCK] < commands
                died = command(folder, draw.uniform(0.3, 1.0) * took if more else 600)
            else:
                died = forked(settings(folder, required), target)
            if died is None:
                break
            landed[died] += 1
            print(f"{landed.total()}: {folder.name} killed in {died}", flush=True)  # noqa: T201
        wrong += [f"{folder.name}: {where}" for where in differences(expected[required], outcome(folder))]
    return {"kills": landed.total(), "landed": dict(landed), "runs": runs, "different": wrong,
            "minutes": round((time.monotonic() - began) / 60, 1)}  # fmt: skip


def main() -> None:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many")
    parser.add_argument("--commands", type=int, default=3, help="how many of them are of a real command")
    parser.add_argument("--out", type=Path, required=True, help="an empty folder for runs and campaign.json")
    parser.add_argument("--seed", type=int, default=0, help="of phases and delays")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork has no other thread
    out = options.out.resolve()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        summary = campaign(options.kills, options.commands, out, random.Random(options.seed))
    (out / "campaign.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))  # noqa: T201
    raise SystemExit(1 if summary["different"] else 0)


if __name__ == "__main__":
    main()
