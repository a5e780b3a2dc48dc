"""Try random command lines of train.py: ``python scripts/fuzz_config.py COUNT SEED``.

Each command line must run one step of a tiny model or fail with one clear line that begins with ``error:``; every
other outcome is printed with its command line.

``--inside`` changes the settings inside checkpoints and run folders instead, some of the changes being attacks, and
lets every command read them: each command must fail with one clear line or build exactly what the file says, without
touching a file outside the case's folder, a socket or a process.
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
os.environ["HF_HUB_OFFLINE"] = "1"  # random names must not be looked up

from tests.fuzzing.inside import draw as draw_inside  # noqa: E402
from tests.fuzzing.inside import make_bases, try_case  # noqa: E402
from tests.fuzzing.overrides import draw  # noqa: E402
from tests.fuzzing.running import Outcome, attempt, bounded, command, defaults, entry  # noqa: E402
from tracer_lightning.engine.streams import standard_streams  # noqa: E402


def main() -> int:
    """Run the cases; returns 1 if one ended neither well nor in one clear line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="how many command lines")
    parser.add_argument("seed", type=int, help="seed of the random cases")
    parser.add_argument("--inside", action="store_true", help="change the settings inside checkpoints and run folders")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    options = parser.parse_args()
    verdicts: Counter[str] = Counter()
    start, fault = time.perf_counter(), False
    cases = changed_files if options.inside else command_lines
    for number, (line, outcome) in enumerate(cases(options.count, options.seed)):
        verdicts[outcome.verdict] += 1
        fault = fault or outcome.fault
        if outcome.fault or options.verbose:
            sys.stdout.write(f"{number}: {outcome.verdict}\n  {line}\n  {outcome.message}\n")
            sys.stdout.flush()
    seconds = time.perf_counter() - start
    sys.stdout.write(f"{options.count} cases of seed {options.seed} in {seconds:.0f} s: {dict(verdicts)}\n")
    return int(fault)


def command_lines(count: int, seed: int) -> Iterator[tuple[str, Outcome]]:
    """Run random command lines of train.py and yield each with its outcome."""
    module = entry("train.py")
    for case in draw(count, seed, defaults()):
        with tempfile.TemporaryDirectory() as folder, bounded():
            os.chdir(folder)
            outcome = attempt(module, command(case))
            os.chdir(ROOT)
        yield f"{case.kind}: {shlex.join(['python', 'train.py', *command(case)])}", outcome


def changed_files(count: int, seed: int) -> Iterator[tuple[str, Outcome]]:
    """Change settings inside the files of runs and yield each change with the outcome of a command that reads them."""
    with tempfile.TemporaryDirectory() as runs:
        bases = make_bases(Path(runs))
        for case in draw_inside(count, seed, bases):
            with tempfile.TemporaryDirectory() as folder:
                outcome = try_case(case, bases[case.base], Path(folder))
            yield f"{case.script} of {bases[case.base].parents[2].name}: {'; '.join(case.changes)}", outcome


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
