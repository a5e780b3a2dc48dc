"""Kill a small run at random moments, continue it, and compare its end with an unbroken one's.

    python scripts/kill_campaign.py --kills 100 --out /tmp/campaign

Most runs are children forked from a process that has imported everything, so that a kill costs seconds; ``--commands``
of the kills are of real ``python train.py``. Every kill is SIGKILL, after a random delay within the phase that was hit
least so far. It ends with status 1 where a run did not end bit for bit as the unbroken one did.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from hydra import initialize_config_dir

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.comparing import differences, outcome  # noqa: E402
from tests.faults.killing import BY_THE_CLOCK, LENGTHS, PHASES, command, forked, settings  # noqa: E402
from tracer_lightning.training.streams import standard_streams  # noqa: E402


def end(folder: Path) -> dict[str, Any]:
    """All that must be equal: what training made, and no half-written file."""
    stale = sorted(path.name for path in folder.rglob("*") if path.name.endswith((".tmp", "next.ckpt")))
    found = outcome(folder / "run")
    del found["results"]["start"]  # has the folder's name
    return {**found, "stale": stale}


def campaign(kills: int, commands: int, out: Path, draw: random.Random) -> dict[str, Any]:
    """Kill so often; counts by phase, and what differed."""
    unbroken = {required: out / f"unbroken{required:d}" for required in (False, True)}
    began = time.monotonic()
    for required, folder in unbroken.items():
        assert forked(settings(folder, required), None) is None
    expected = {required: end(folder) for required, folder in unbroken.items()}
    took = time.monotonic()
    if commands:
        command(out / "unbroken command", 600)
        assert not differences(expected[False], end(out / "unbroken command"))
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
        wrong += [f"{folder.name}: {where}" for where in differences(expected[required], end(folder))]
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
    with standard_streams():
        main()
