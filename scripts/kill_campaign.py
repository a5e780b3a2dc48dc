"""Kill small runs, sweeps and other commands, repeat them, and compare the results with uninterrupted ones.

    python scripts/kill_campaign.py --kills 100 --out /tmp/campaign
    python scripts/kill_campaign.py --files --out /tmp/campaign

Runs and sweeps are forked from a process that has imported everything, so that a kill costs seconds; ``--commands`` of
the kills hit a real ``python train.py``. Every kill is a SIGKILL after a random delay within the phase that was hit
least so far. ``--files`` kills export, merge and make_shards instead, at each change of a file. The exit status is 1 if
any result differs in a single bit from the uninterrupted one.
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
from tests.faults.events import commands as file_writers  # noqa: E402
from tests.faults.events import killed_at_changes  # noqa: E402
from tests.faults.killing import BY_THE_CLOCK, LENGTHS, PHASES, command, forked, sweep, training  # noqa: E402
from tracer_lightning.engine.streams import standard_streams  # noqa: E402


class Case(NamedTuple):
    """Work that is killed repeatedly, and continued by the same command until it finishes."""

    begin: Callable[[Path], Callable[[], None]]
    """Function that returns the work to do in a folder."""
    runs: str
    """Glob pattern of the run folders."""
    phases: Sequence[str]
    """Names of the phases to kill in."""
    suffix: str = ""
    """Suffix of the phases' names in the summary."""


CASES = (
    Case(partial(training, required=False), "run", PHASES[:-1]),
    Case(partial(training, required=True), "run", PHASES),
    Case(sweep, "digits/run/*-seed*", PHASES[:-1], " of a sweep"),
)
MAX_KILLS = 6
"""Number of kills after which a run is allowed to finish."""
REAL = CASES[0]
"""Case that the real command runs as well."""


def final_state(folder: Path, case: Case) -> dict[str, Any]:
    """Everything that must be equal: the results of training, and the absence of partially written files."""
    names = [path.name for path in folder.rglob("*")]
    stale = sorted(name for name in names if name.startswith(".tracer-partial-") or name == "next.ckpt")
    outcomes = {}
    for run in folder.glob(case.runs):
        outcomes[run.name] = outcome(run)
        del outcomes[run.name]["results"]["start"]  # has the folder's name
    return {**outcomes, "stale": stale}


def kill_runs(kills: int, commands: int, out: Path, draw: random.Random) -> dict[str, Any]:
    """Kill runs and sweeps ``kills`` times; returns the kills by phase and all differences."""
    expected = {}
    for number, case in enumerate(CASES):
        folder = out / f"uninterrupted{number}"
        assert forked(case.begin(folder), folder / "log.txt", None) is None
        expected[case] = final_state(folder, case)
    start = time.monotonic()
    if commands:
        command(out / "uninterrupted command", 600)
        assert not differences(expected[REAL], final_state(out / "uninterrupted command", REAL))
    duration = time.monotonic() - start
    kills_by_phase: Counter[str] = Counter()
    different: list[str] = []
    count = 0
    while kills_by_phase.total() < kills:
        use_command = kills_by_phase[BY_THE_CLOCK] < commands
        folder, case = out / f"run{count}", REAL if use_command else CASES[count % len(CASES)]
        count, before = count + 1, kills_by_phase.total()
        while True:
            phase = min(case.phases, key=lambda name: (kills_by_phase[f"{name}{case.suffix}"], draw.random()))
            finish = kills_by_phase.total() >= min(kills, before + MAX_KILLS)
            target = None if finish else (phase, draw.randrange(3), draw.uniform(0, LENGTHS[phase]))
            if use_command:
                more = kills_by_phase[BY_THE_CLOCK] < commands
                killed_in = command(folder, draw.uniform(0.3, 1.0) * duration if more else 600)
            else:
                killed_in = forked(case.begin(folder), folder / "log.txt", target)
            if killed_in is None:
                break
            kills_by_phase[f"{killed_in}{case.suffix}"] += 1
            print(f"{kills_by_phase.total()}: {folder.name} killed in {killed_in}{case.suffix}", flush=True)  # noqa: T201
        different += [f"{folder.name}: {where}" for where in differences(expected[case], final_state(folder, case))]
    return {"kills": kills_by_phase.total(), "landed": dict(kills_by_phase), "runs": count, "different": different}


def kill_file_writers(out: Path, every: int) -> dict[str, Any]:
    """Kill commands at their changes of files; returns the kills by command and all differences."""
    assert forked(REAL.begin(out / "base"), out / "base/log.txt", None) is None
    kills_by_command, different = {}, []
    for name, work in file_writers(out / "base/run", out / "images").items():
        kills_by_command[name], differing = killed_at_changes(work, out / name, out / f"{name}.txt", every)
        print(f"{name}: killed at {kills_by_command[name]} changes of files", flush=True)  # noqa: T201
        different += [f"{name}: {where} after kill {number}" for number, names in differing.items() for where in names]
    return {"kills": sum(kills_by_command.values()), "landed": kills_by_command, "different": different}


def main() -> None:
    """Run the campaign, print its summary and write it to ``campaign.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="number of kills")
    parser.add_argument("--commands", type=int, default=3, help="number of kills that hit a real command")
    parser.add_argument("--out", type=Path, required=True, help="empty folder for the runs and campaign.json")
    parser.add_argument("--files", action="store_true", help="kill export, merge and make_shards instead")
    parser.add_argument("--every", type=int, default=1, help="with --files: kill at every EVERY-th change only")
    parser.add_argument("--seed", type=int, default=0, help="seed of phases and delays")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork has no other thread
    out = options.out.resolve()
    start = time.monotonic()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        summary = (
            kill_file_writers(out, options.every)
            if options.files
            else kill_runs(options.kills, options.commands, out, random.Random(options.seed))
        )
    summary["minutes"] = round((time.monotonic() - start) / 60, 1)
    (out / "campaign.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))  # noqa: T201
    raise SystemExit(1 if summary["different"] else 0)


if __name__ == "__main__":
    with standard_streams():
        main()
