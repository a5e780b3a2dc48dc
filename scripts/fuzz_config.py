"""Try random command lines of train.py: ``python scripts/fuzz_config.py COUNT SEED``.

Each must run one step of a tiny model, or end in one clear line that begins with ``error:``. What does neither is
printed with the command line that shows it.

``--inside`` changes the settings inside checkpoints and run folders instead, with attacks among the changes, and has
every command read them: each must end in one clear line, or build exactly what the file says; no file outside of the
case's folder, no socket and no process may be touched.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ["HF_HUB_OFFLINE"] = "1"  # mistaken names are not to be asked for

from tests.fuzzing.inside import draw as draw_inside  # noqa: E402
from tests.fuzzing.inside import make_bases, try_case  # noqa: E402
from tests.fuzzing.overrides import draw  # noqa: E402
from tests.fuzzing.running import Outcome, attempt, bounded, command, defaults, entry  # noqa: E402
from tracer_lightning.engine.streams import standard_streams  # noqa: E402


def main() -> int:
    """Run the campaign; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="how many command lines")
    parser.add_argument("seed", type=int, help="of the random numbers")
    parser.add_argument("--inside", action="store_true", help="change what checkpoints and run folders say")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    options = parser.parse_args()
    verdicts: Counter[str] = Counter()
    start, fault = time.perf_counter(), False
    for number, (line, outcome) in enumerate((inside if options.inside else lines)(options.count, options.seed)):
        verdicts[outcome.verdict] += 1
        fault = fault or outcome.fault
        if outcome.fault or options.verbose:
            sys.stdout.write(f"{number}: {outcome.verdict}\n  {line}\n  {outcome.message}\n")
            sys.stdout.flush()
    seconds = time.perf_counter() - start
    sys.stdout.write(f"{options.count} cases of seed {options.seed} in {seconds:.0f} s: {dict(verdicts)}\n")
    return int(fault)


def lines(count: int, seed: int) -> Iterator[tuple[str, Outcome]]:
    """Command lines of train.py, and how they end."""
    module = entry("train.py")
    for case in draw(count, seed, defaults()):
        with tempfile.TemporaryDirectory() as folder, bounded():
            os.chdir(folder)
            outcome = attempt(module, command(case))
            os.chdir(ROOT)
        yield f"{case.kind}: {shlex.join(['python', 'train.py', *command(case)])}", outcome


def inside(count: int, seed: int) -> Iterator[tuple[str, Outcome]]:
    """Changes inside the files of runs, and how the commands that read them end."""
    with tempfile.TemporaryDirectory() as runs:
        bases = make_bases(Path(runs))
        for case in draw_inside(count, seed, bases):
            with tempfile.TemporaryDirectory() as folder:
                outcome = try_case(case, bases[case.base], Path(folder))
            yield f"{case.script} of {bases[case.base].parents[2].name}: {'; '.join(case.changes)}", outcome


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
