"""Writing a task of NAS-Bench-360 as arrays."""

from __future__ import annotations

import argparse

from tracer_lightning.data.nas_bench_360 import TASKS, convert
from tracer_lightning.reporting.command_line import say


def make_arrays(args: argparse.Namespace) -> int:
    """Convert the files of a task, and print what was written; returns the exit status."""
    if args.task not in TASKS:
        raise ValueError(f"TASK must be one of {', '.join(TASKS)}, found {args.task}")
    counts = convert(args.task, args.source, args.out, args.any_count)
    listed = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    say(f"{args.out}: {listed} samples; train with experiment=nb360_{args.task} data.root={args.out}")
    return 0
