"""Kill small runs, sweeps and other commands, repeat them, and compare their ends with those of unbroken ones.

    python scripts/kill_campaign.py --kills 100 --out /tmp/campaign
    python scripts/kill_campaign.py --files --out /tmp/campaign

Runs and sweeps are children forked from a process that has imported everything, so that a kill costs seconds;
``--commands`` of the kills are of real ``python train.py``. Every kill is SIGKILL, after a random delay within the
phase that was hit least so far. ``--files`` kills export, merge and make_shards instead, at each change of a file. It
ends with status 1 where something did not end bit for bit as the unbroken one did.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra import initialize_config_dir

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.comparing import differences, outcome  # noqa: E402
from tests.faults.events import commands as written  # noqa: E402
from tests.faults.events import killed_at_changes  # noqa: E402
from tests.faults.killing import BY_THE_CLOCK, LENGTHS, PHASES, command, forked, sweep, training  # noqa: E402
from tracer_lightning.engine.streams import standard_streams  # noqa: E402


class Case(NamedTuple):
    """What is killed again and again, and continued by the same command until it comes to its end."""

    begin: Callable[[Path], Callable[[], None]]
    """Gives the work in a folder."""
    runs: str
    """Pattern of its runs' folders."""
    phases: Sequence[str]
    mark: str = ""
    """What is added to the names of phases in the summary."""


CASES = (
    Case(partial(training, required=False), "run", PHASES[:-1]),
    Case(partial(training, required=True), "run", PHASES),
    Case(sweep, "digits/run/*-seed*", PHASES[:-1], " of a sweep"),
)
MOST = 6
"""Kills after which a run is let come to its end."""
REAL = CASES[0]
"""What the real command runs, too."""


def end(folder: Path, case: Case) -> dict[str, Any]:
    """All that must be equal: what training made, and no half-written file."""
    names = [path.name for path in folder.rglob("*")]
    stale = sorted(name for name in names if name.startswith(".tracer-partial-") or name == "next.ckpt")
    outcomes = {}
    for run in folder.glob(case.runs):
        outcomes[run.name] = outcome(run)
        del outcomes[run.name]["results"]["start"]  # has the folder's name
    return {**outcomes, "stale": stale}


def runs(kills: int, commands: int, out: Path, draw: random.Random) -> dict[str, Any]:
    """Kill runs and sweeps so often; counts by phase, and what differed."""
    expected = {}
    for number, case in enumerate(CASES):
        folder = out / f"unbroken{number}"
        assert forked(case.begin(folder), folder / "log.txt", None) is None
        expected[case] = end(folder, case)
    took = time.monotonic()
    if commands:
        command(out / "unbroken command", 600)
        assert not differences(expected[REAL], end(out / "unbroken command", REAL))
    took = time.monotonic() - took
    landed: Counter[str] = Counter()
    wrong: list[str] = []
    count = 0
    while landed.total() < kills:
        real = landed[BY_THE_CLOCK] < commands
        folder, case = out / f"run{count}", REAL if real else CASES[count % len(CASES)]
        count, before = count + 1, landed.total()
        while True:
            phase = min(case.phases, key=lambda name: (landed[f"{name}{case.mark}"], draw.random()))
            enough = landed.total() >= min(kills, before + MOST)
            target = None if enough else (phase, draw.randrange(3), draw.uniform(0, LENGTHS[phase]))
            if real:
                more = landed[BY_THE_CLOCK] < commands
                died = command(folder, draw.uniform(0.3, 1.0) * took if more else 600)
            else:
                died = forked(case.begin(folder), folder / "log.txt", target)
            if died is None:
                break
            landed[f"{died}{case.mark}"] += 1
            print(f"{landed.total()}: {folder.name} killed in {died}{case.mark}", flush=True)  # noqa: T201
        wrong += [f"{folder.name}: {where}" for where in differences(expected[case], end(folder, case))]
    return {"kills": landed.total(), "landed": dict(landed), "runs": count, "different": wrong}


def files(out: Path, every: int) -> dict[str, Any]:
    """Kill commands that write files at their changes; counts by command, and what differed."""
    assert forked(REAL.begin(out / "base"), out / "base/log.txt", None) is None
    landed, wrong = {}, []
    for name, work in written(out / "base/run", out / "images").items():
        landed[name], different = killed_at_changes(work, out / name, out / f"{name}.txt", every)
        print(f"{name}: killed at {landed[name]} changes of files", flush=True)  # noqa: T201
        wrong += [f"{name}: {where} after kill {number}" for number, names in different.items() for where in names]
    return {"kills": sum(landed.values()), "landed": landed, "different": wrong}


def main() -> None:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many")
    parser.add_argument("--commands", type=int, default=3, help="how many of them are of a real command")
    parser.add_argument("--out", type=Path, required=True, help="an empty folder for runs and campaign.json")
    parser.add_argument("--files", action="store_true", help="kill export, merge and make_shards instead")
    parser.add_argument("--every", type=int, default=1, help="with --files: kill at every so-many-th change only")
    parser.add_argument("--seed", type=int, default=0, help="of phases and delays")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork has no other thread
    out = options.out.resolve()
    began = time.monotonic()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        summary = (
            files(out, options.every)
            if options.files
            else runs(options.kills, options.commands, out, random.Random(options.seed))
        )
    summary["minutes"] = round((time.monotonic() - began) / 60, 1)
    (out / "campaign.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))  # noqa: T201
    raise SystemExit(1 if summary["different"] else 0)


if __name__ == "__main__":
    with standard_streams():
        main()
