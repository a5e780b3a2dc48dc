"""Tables of benchmark results for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

CAPTION = "medians; ratios round by round, with their range"
GB, MB = 1e9, 1e6


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str | None = None) -> Table:
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _spread(results: Mapping[str, Any], form: str = ".2f", unit: float = 1.0) -> str:
    median, low, high = (number / unit for number in (results["median"], *results["range"]))
    return f"{median:{form}} ({low:{form}} to {high:{form}})"


def _peak(results: Mapping[str, int]) -> str:
    return " + ".join(f"{value / MB:,.0f} ({where})" for where, value in results.items())


def step_tables(results: Mapping[str, Any]) -> list[Table]:
    """Tables of the results of :func:`tracer_lightning.benchmarks.step.measure`."""
    options = results["options"]
    title = f"{options['model']}, batch {options['batch_size']}, {options['precision']}, {options['accelerator']}"
    shares = results["utilisation"] or {}
    steps = [
        (
            name,
            _spread(value),
            f"{results['images per second'][name]:.1f}",
            f"{results['flops'][name] / 1e12:.2f}",
            f"{results['flops per second'][name] / 1e12:.2f}" + (f" ({shares[name]:.0%})" if shares else ""),
            _peak(results["peak memory"][name]),
        )
        for name, value in results["seconds"].items()
    ]
    ratios = [(name, _spread(value)) for name, value in results["ratios"].items()]
    return [
        _table(title, ("a training step", "seconds", "images/s", "TFLOP", "TFLOP/s", "peak MB"), steps),
        _table("", ("of steps", "ratio"), ratios, CAPTION),
    ]


def loading_tables(results: Mapping[str, Any]) -> list[Table]:
    """Tables of the results of :func:`tracer_lightning.benchmarks.loading.measure`."""
    rows = [
        (name, f"{value['ours']:.0f}", f"{value['reference']:.0f}", _spread(value["ratio"]))
        for name, value in results["images per second"].items()
    ]
    return [_table("loading, images per second", ("step", "ours", "PIL + torchvision", "ratio"), rows, CAPTION)]


def teacher_tables(results: Mapping[str, Any]) -> list[Table]:
    """Tables of the teacher's ``update`` and of the ``statistics`` of student and teacher."""
    update, cost = results["update"], results["statistics"]
    title = f"teacher of {update['options']['model']}: {update['parameters']:,} weights in {update['tensors']} tensors"
    rows = [
        (
            name,
            _spread(value, unit=1e-3),
            _spread(update["bytes per second"][name], unit=GB) if name in update["bytes"] else "",
            _peak(update["peak memory"][name]),
        )
        for name, value in update["seconds"].items()
    ]
    ratios = [(name, _spread(update[name])) for name in ("share of the copy's bandwidth", "naive loop / our update")]
    per_step = [(every, f"{value * 1e3:.3f}") for every, value in update["seconds per step"].items()]
    setting = f"statistics: batch {cost['options']['batch_size']}, {cost['options']['precision']}"
    statistics = [
        ("a step without them, s", _spread(cost["step"], ".3f")),
        ("all of them once, s", _spread(cost["statistics"], ".3f")),
        (f"share of the time, every {cost['options']['every']} steps", _spread(cost["share"], ".3%")),
    ]
    return [
        _table(title, ("", "ms", "GB/s", "peak MB"), rows),
        _table("", ("ratio", ""), ratios, CAPTION),
        _table("", ("an update every ... steps", "ms per step"), per_step),
        _table(setting, ("statistics of student and teacher", ""), statistics),
    ]


def evaluation_tables(results: Mapping[str, Any]) -> list[Table]:
    """Tables of the results of :func:`tracer_lightning.benchmarks.evaluating.measure`."""
    options, suite = results["options"], results["options"]["suite"]
    title = (
        f"student and teacher, {options['model']}, {suite['sets']} sets of {suite['images']}, "
        f"{suite['classes']} classes x {suite['templates']} templates, {options['precision']}, {options['accelerator']}"
    )
    rows = [
        (
            name,
            _spread(value),
            f"{results['images per second'][name]['median']:.1f}",
            _peak(results["peak memory"][name]),
        )
        for name, value in results["seconds"].items()
    ]
    ratios = [("plain / ours", _spread(results["plain / ours"]))]
    return [
        _table(title, ("an evaluation", "seconds", "images/s", "peak MB"), rows),
        _table("", ("of times", "ratio"), ratios, CAPTION),
    ]


def lever_tables(results: Mapping[str, Any]) -> list[Table]:
    """Tables of the results of :func:`tracer_lightning.benchmarks.levers.measure`."""
    options = results["options"]
    title = f"{options['model']}, batch {options['batch_size']}, {options['precision']}, {options['accelerator']}"
    rows = [
        (name, f"{value['with']:.3f}", f"{value['without']:.3f}", _spread(value["ratio"]))
        for name, value in results["levers"].items()
    ]
    return [_table(title, ("a TRACER step, seconds", "with", "without", "ratio"), rows, CAPTION)]


def memory_tables(results: Mapping[str, Any]) -> list[Table]:
    """Tables of several results of :func:`tracer_lightning.benchmarks.memory.measure_in_subprocess`."""
    runs = results["runs"]
    title = f"{runs[0]['model']}, {runs[0]['precision']}, {runs[0]['accelerator']}"
    rows = [
        (
            run["method"],
            str(run["batch_size"]),
            "yes" if run["gradient_checkpointing"] else "no",
            str(run["micro_batch"] or "no"),
            "out of memory" if run["peak"] is None else f"{run['peak']:,.0f}",
            "" if run["seconds"] is None else f"{run['seconds']:.2f}",
        )
        for run in runs
    ]
    columns = ("method", "batch", "checkpointing", "micro-batch", "peak MiB", "s per step")
    return [_table(title, columns, rows, f"the peak includes the imports: {runs[0]['imports'] or 0:,.0f} MiB")]


def alignment_tables(results: Mapping[str, Any]) -> list[Table]:
    """Tables of the results of :func:`tracer_lightning.benchmarks.alignment.measure`."""
    stage = [(part, _spread(value)) for part, value in results["stage"].items()]
    methods = list(next(iter(results["distances"].values())))
    distances = [
        (samples, *(f"{_spread(row[name]['seconds'], '.1f', 1e-3)}: {row[name]['value']:.3f}" for name in methods))
        for samples, row in results["distances"].items()
    ]
    memory = [(sizes, f"{value / MB:,.1f}") for sizes, value in results["memory"].items()]
    return [
        _table("stage 1 of the demo", ("", "CPU seconds"), stage),
        _table("a distance with its gradient: CPU milliseconds, and its value", ("samples", *methods), distances),
        _table("an exact distance with its gradient", ("target x source samples", "peak MB"), memory, CAPTION),
    ]
