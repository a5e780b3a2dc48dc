"""Try random command lines of train.py: ``python scripts/fuzz_config.py COUNT SEED``.

Each must run one step of a tiny model, or end in one clear line that begins with ``error:``. What does neither is
printed with the command line that shows it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ["HF_HUB_OFFLINE"] = "1"  # mistaken names are not to be asked for

from tests.fuzzing.overrides import draw  # noqa: E402
from tests.fuzzing.running import attempt, bounded, command, defaults, entry  # noqa: E402
from tracer_lightning.training.streams import standard_streams  # noqa: E402


def main() -> int:
    """Run the campaign; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="how many command lines")
    parser.add_argument("seed", type=int, help="of the random numbers")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    options = parser.parse_args()
    found: Counter[str] = Counter()
    start, module = time.perf_counter(), entry("train.py")
    for number, case in enumerate(draw(options.count, options.seed, defaults())):
        with tempfile.TemporaryDirectory() as folder, bounded():
            os.chdir(folder)
            outcome = attempt(module, command(case))
            os.chdir(ROOT)
        found[outcome.verdict] += 1
        if outcome.fault or options.verbose:
            line = shlex.join(["python", "train.py", *command(case)] if outcome.fault else case.overrides)
            sys.stdout.write(f"{number} {case.kind}: {outcome.verdict}\n  {line}\n  {outcome.message}\n")
            sys.stdout.flush()
    seconds = time.perf_counter() - start
    sys.stdout.write(f"{options.count} cases of seed {options.seed} in {seconds:.0f} s: {dict(found)}\n")
    return int(any(found[verdict] for verdict in found if verdict not in ("ran", "refused", "outside")))


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
