"""Measure speed, side by side in one run: ``python scripts/benchmark.py --help``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tracer_lightning.benchmarks import averaging, evaluating, levers, loading, memory, report, statistics, step
from tracer_lightning.benchmarks.measuring import machine, shown, write_json
from tracer_lightning.engine.console import quieten
from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.plain_commands import table_console

WIDTH = 120
Found = dict[str, Any]


def step_part(options: argparse.Namespace) -> Found:
    """Training steps, ours and plain ones."""
    keys = ("model", "batch_size", "steps", "rounds", "accelerator", "precision", "compile")
    asked = step.StepOptions(**{key: getattr(options, key) for key in keys})
    return {"options": asked._asdict(), **step.measure(asked)}


def levers_part(options: argparse.Namespace) -> Found:
    """Our training step with each lever and without it."""
    keys = ("model", "batch_size", "steps", "rounds", "accelerator", "precision")
    chosen = options.levers or list(levers.LEVERS)
    return levers.measure(levers.LeverOptions(levers=chosen, **{key: getattr(options, key) for key in keys}))


def memory_part(options: argparse.Namespace) -> Found:
    """Most memory of training, by batch size."""
    sizes = [options.batch_size * 2**doubling for doubling in range(options.doublings + 1)]
    asked = memory.settings(sizes, options.micro_batch, options.model, options.accelerator, options.precision)
    return {"runs": [memory.measure_apart(each) for each in shown(asked, "settings")]}


def teacher_part(options: argparse.Namespace) -> Found:
    """The teacher's update, and the statistics."""
    update = averaging.TeacherOptions(options.model, options.rounds, options.accelerator)
    keys = ("model", "batch_size", "steps", "every", "accelerator", "precision")
    cost = statistics.StatisticsOptions(**{key: getattr(options, key) for key in keys})
    return {"update": averaging.measure(update), "statistics": statistics.measure(cost)}


def data_part(options: argparse.Namespace) -> Found:
    """Loading pictures."""
    if options.batch_size > options.pictures:
        raise ValueError("--batch-size must lie between 1 and --pictures")
    keys = loading.LoadingOptions._fields
    return loading.measure(loading.LoadingOptions(*(getattr(options, key) for key in keys)))


def eval_part(options: argparse.Namespace) -> Found:
    """Evaluation of student and teacher."""
    suite = evaluating.Suite(options.sets, options.pictures, options.classes, options.templates)
    keys = ("model", "batch_size", "num_workers", "rounds", "accelerator", "precision")
    return evaluating.measure(evaluating.EvaluationOptions(suite=suite, **{key: getattr(options, key) for key in keys}))


PARTS: dict[str, tuple[str, Callable[[argparse.Namespace], Found], Callable[[Found], list[Table]]]] = {
    "step": ("training steps", step_part, report.step_tables),
    "levers": ("training steps with each lever and without it", levers_part, report.lever_tables),
    "memory": ("the most memory that training takes", memory_part, report.memory_tables),
    "teacher": ("the teacher's update, and the statistics", teacher_part, report.teacher_tables),
    "data": ("loading pictures", data_part, report.loading_tables),
    "eval": ("evaluation of student and teacher", eval_part, report.evaluation_tables),
}
COUNTS: dict[str, dict[str, tuple[int, str]]] = {
    "step": {
        "batch-size": (32, "pictures in a step"),
        "steps": (3, "that are counted in each round; one more comes before"),
    },
    "levers": {
        "batch-size": (32, "pictures in a step"),
        "steps": (2, "that are counted in each round; one more comes before"),
    },
    "memory": {
        "batch-size": (16, "pictures in a step, at first"),
        "doublings": (3, "of the batch"),
        "micro-batch": (16, "pictures in a micro-batch"),
    },
    "teacher": {
        "batch-size": (32, "pictures in a step with statistics"),
        "steps": (5, "with statistics that are counted; one more comes before"),
        "every": (50, "steps from one set of statistics to the next"),
    },
    "data": {
        "pictures": (1024, "500 x 375 JPEGs"),
        "image-size": (224, "pixels of a crop"),
        "batch-size": (128, "of the loaders"),
    },
    "eval": {
        "sets": (3, "of the suite"),
        "pictures": (64, "500 x 375 JPEGs in each set"),
        "classes": (40, "the first of ImageNet's"),
        "templates": (4, "the first of ImageNet's"),
        "batch-size": (32, "of the loaders"),
    },
}
"""Whole numbers from 1, with their defaults."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure speed, ours and a plain reference in turn.")
    parts = parser.add_subparsers(title="what to measure", required=True, metavar="WHAT", dest="part")
    for name, (title, _, _) in PARTS.items():
        part = parts.add_parser(name, help=title, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        for option, (default, text) in COUNTS[name].items():
            part.add_argument(f"--{option}", type=int, default=default, help=text)
        if name != "memory":
            turns = "in which all have their turn; one more comes before"
            part.add_argument("--rounds", type=int, default=5, help=turns)
        if name == "step":
            part.add_argument("--compile", action="store_true", help="compile ours, which takes minutes")
        if name == "levers":
            known = ", ".join(levers.LEVERS)
            part.add_argument("--levers", nargs="+", choices=levers.LEVERS, metavar="LEVER", help=f"some of: {known}")
        if name in ("data", "eval"):
            part.add_argument("--num-workers", type=int, default=2, help="of the loaders")
        if name != "data":
            part.add_argument("--model", default="ViT-B-32", help="an open_clip ViT, with random weights")
            part.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu", help="where")
            part.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true", help="of the models")
        part.add_argument("--json", type=Path, metavar="FILE", help="where to write the numbers")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    _, work, tables = PARTS[options.part]
    try:
        for name in ("rounds", *COUNTS[options.part]):
            if getattr(options, name.replace("-", "_"), 1) < 1:
                raise ValueError(f"--{name} must be at least 1")
        if getattr(options, "num_workers", 0) < 0:
            raise ValueError("--num-workers must be at least 0")
        quieten()
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        found = work(options)
    except ValueError as error:
        parser.error(str(error))
    about = machine()
    console = table_console(WIDTH)
    console.print(f"{about['gpu'] or about['processor']}, {about['cores']} cores, {about['threads']} threads, "
                  f"torch {about['versions']['torch']}", highlight=False)  # fmt: skip
    console.print(*tables(found))
    if options.json:
        write_json(options.json, found)
    return 0


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
