"""Measure speed against reference implementations: ``python scripts/benchmark.py --help``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tracer_lightning.benchmarks import (
    alignment,
    averaging,
    evaluating,
    levers,
    loading,
    memory,
    report,
    statistics,
    step,
)
from tracer_lightning.benchmarks.measuring import machine, with_progress, write_json
from tracer_lightning.engine.console import quieten
from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.command_line import Parser, run_command, table_console

WIDTH = 120
"""Number of columns where the output does not go to a terminal."""
Results = dict[str, Any]


def step_part(options: argparse.Namespace) -> Results:
    """Measure training steps, ours and those of the reference implementations."""
    keys = ("model", "batch_size", "steps", "rounds", "accelerator", "precision", "compile")
    step_options = step.StepOptions(**{key: getattr(options, key) for key in keys})
    return {"options": step_options._asdict(), **step.measure(step_options)}


def levers_part(options: argparse.Namespace) -> Results:
    """Measure our training step with and without each optimisation."""
    keys = ("model", "batch_size", "steps", "rounds", "accelerator", "precision")
    names = options.levers or list(levers.LEVERS)
    return levers.measure(levers.LeverOptions(levers=names, **{key: getattr(options, key) for key in keys}))


def memory_part(options: argparse.Namespace) -> Results:
    """Measure the peak memory of training by batch size."""
    sizes = [options.batch_size * 2**doubling for doubling in range(options.doublings + 1)]
    settings = memory.settings(sizes, options.micro_batch, options.model, options.accelerator, options.precision)
    return {"runs": [memory.measure_in_subprocess(setting) for setting in with_progress(settings, "settings")]}


def teacher_part(options: argparse.Namespace) -> Results:
    """Measure the teacher's update and the statistics of teacher and student."""
    update = averaging.TeacherOptions(options.model, options.rounds, options.accelerator)
    keys = ("model", "batch_size", "steps", "every", "accelerator", "precision")
    cost = statistics.StatisticsOptions(**{key: getattr(options, key) for key in keys})
    return {"update": averaging.measure(update), "statistics": statistics.measure(cost)}


def data_part(options: argparse.Namespace) -> Results:
    """Measure image loading."""
    if options.batch_size > options.images:
        raise ValueError("--batch-size must lie between 1 and --images")
    keys = loading.LoadingOptions._fields
    return loading.measure(loading.LoadingOptions(*(getattr(options, key) for key in keys)))


def eval_part(options: argparse.Namespace) -> Results:
    """Measure the evaluation of student and teacher."""
    suite = evaluating.BenchmarkSuite(options.sets, options.images, options.classes, options.templates)
    keys = ("model", "batch_size", "num_workers", "rounds", "accelerator", "precision")
    return evaluating.measure(evaluating.EvaluationOptions(suite=suite, **{key: getattr(options, key) for key in keys}))


def alignment_part(options: argparse.Namespace) -> Results:
    """Measure stage 1 of cross-modal fine-tuning, and its distances."""
    keys = alignment.AlignmentOptions._fields
    return alignment.measure(alignment.AlignmentOptions(*(getattr(options, key) for key in keys)))


PARTS: dict[str, tuple[str, Callable[[argparse.Namespace], Results], Callable[[Results], list[Table]]]] = {
    "step": ("training steps", step_part, report.step_tables),
    "levers": ("training steps with and without each optimisation", levers_part, report.lever_tables),
    "memory": ("peak memory of training", memory_part, report.memory_tables),
    "teacher": ("the teacher's update and the statistics", teacher_part, report.teacher_tables),
    "data": ("image loading", data_part, report.loading_tables),
    "eval": ("evaluation of student and teacher", eval_part, report.evaluation_tables),
    "alignment": ("stage 1 of cross-modal fine-tuning", alignment_part, report.alignment_tables),
}
COUNTS: dict[str, dict[str, tuple[int, str]]] = {
    "step": {
        "batch-size": (32, "images per step"),
        "steps": (3, "measured steps per round, after one warm-up step"),
    },
    "levers": {
        "batch-size": (32, "images per step"),
        "steps": (2, "measured steps per round, after one warm-up step"),
    },
    "memory": {
        "batch-size": (16, "images per step of the smallest batch"),
        "doublings": (3, "how often the batch size is doubled"),
        "micro-batch": (16, "images per micro-batch"),
    },
    "teacher": {
        "batch-size": (32, "images per step with statistics"),
        "steps": (5, "measured steps with statistics, after one warm-up step"),
        "every": (50, "interval of the statistics in steps"),
    },
    "data": {
        "images": (1024, "number of 500 x 375 JPEGs"),
        "image-size": (224, "height and width of a crop in pixels"),
        "batch-size": (128, "batch size of the loaders"),
    },
    "eval": {
        "sets": (3, "number of evaluation sets"),
        "images": (64, "number of 500 x 375 JPEGs per set"),
        "classes": (40, "number of classes, the first of ImageNet's"),
        "templates": (4, "number of templates, the first of ImageNet's"),
        "batch-size": (32, "batch size of the loaders"),
    },
    "alignment": {
        "samples": (64, "samples of each side of the smallest distance"),
        "doublings": (3, "how often their number is doubled"),
        "steps": (100, "optimizer steps of stage 1"),
    },
}
"""Options that are integers >= 1, with their defaults and help texts, by part."""


def build_parser() -> Parser:
    """Build the parser of the command line."""
    parser = Parser(description="Measure speed, alternating between ours and a plain reference.")
    parts = parser.add_subparsers(title="what to measure", required=True, metavar="WHAT", dest="part")
    for name, (title, _, _) in PARTS.items():
        part = parts.add_parser(name, help=title, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        for option, (default, text) in COUNTS[name].items():
            part.add_argument(f"--{option}", type=int, default=default, help=text)
        if name != "memory":
            part.add_argument("--rounds", type=int, default=5, help="measured rounds, after one warm-up round")
        if name == "step":
            part.add_argument("--compile", action="store_true", help="compile our modules, which takes minutes")
        if name == "levers":
            names = ", ".join(levers.LEVERS)
            part.add_argument("--levers", nargs="+", choices=levers.LEVERS, metavar="LEVER", help=f"some of: {names}")
        if name in ("data", "eval"):
            part.add_argument("--num-workers", type=int, default=2, help="workers of each loader")
        if name not in ("data", "alignment"):
            part.add_argument("--model", default="ViT-B-32", help="an open_clip ViT, with random weights")
            part.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu", help="device")
            part.add_argument(
                "--precision", choices=("32-true", "bf16-mixed"), default="32-true", help="precision of the models"
            )
        part.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
    return parser


def check_counts(options: argparse.Namespace) -> None:
    """Raise ValueError for a count that is out of range."""
    for name in ("rounds", *COUNTS[options.part]):
        if getattr(options, name.replace("-", "_"), 1) < 1:
            raise ValueError(f"--{name} must be at least 1")
    if getattr(options, "num_workers", 0) < 0:
        raise ValueError("--num-workers must be at least 0")


def benchmark(options: argparse.Namespace) -> None:
    """Measure one part, print its tables and write its results."""
    check_counts(options)
    _, measure, tables = PARTS[options.part]
    quieten()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    results = measure(options)
    device = machine()
    console = table_console(WIDTH)
    console.print(f"{device['gpu'] or device['processor']}, {device['cores']} cores, {device['threads']} threads, "
                  f"torch {device['versions']['torch']}", highlight=False)  # fmt: skip
    console.print(*tables(results))
    if options.json:
        write_json(options.json, results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(benchmark, build_parser(), arguments)


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
