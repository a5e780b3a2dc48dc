"""Results as tables for the terminal."""

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


def _spread(found: Mapping[str, Any], form: str = ".2f", unit: float = 1.0) -> str:
    value, low, high = (each / unit for each in (found["median"], *found["range"]))
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def _peak(found: Mapping[str, int]) -> str:
    return " + ".join(f"{value / MB:,.0f} ({where})" for where, value in found.items())


def step_tables(found: Mapping[str, Any]) -> list[Table]:
    """Of :func:`tracer_lightning.benchmarks.step.summary`."""
    options = found["options"]
    title = f"{options['model']}, batch {options['batch_size']}, {options['precision']}, {options['accelerator']}"
    shares = found["utilisation"] or {}
    steps = [
        (
            name,
            _spread(each),
            f"{found['images per second'][name]:.1f}",
            f"{found['flops'][name] / 1e12:.2f}",
            f"{found['flops per second'][name] / 1e12:.2f}" + (f" ({shares[name]:.0%})" if shares else ""),
            _peak(found["peak memory"][name]),
        )
        for name, each in found["seconds"].items()
    ]
    ratios = [(name, _spread(each)) for name, each in found["ratios"].items()]
    return [
        _table(title, ("a training step", "seconds", "images/s", "TFLOP", "TFLOP/s", "peak MB"), steps),
        _table("", ("of steps", "ratio"), ratios, CAPTION),
    ]


def loading_tables(found: Mapping[str, Any]) -> list[Table]:
    """Of :func:`tracer_lightning.benchmarks.loading.measure`."""
    rows = [
        (name, f"{each['ours']:.0f}", f"{each['reference']:.0f}", _spread(each["ratio"]))
        for name, each in found["images per second"].items()
    ]
    return [_table("loading, images a second", ("what", "ours", "PIL + torchvision", "ratio"), rows, CAPTION)]


def teacher_tables(found: Mapping[str, Any]) -> list[Table]:
    """Of :mod:`tracer_lightning.benchmarks.averaging` under ``update``, and of ``statistics`` of both."""
    update, cost = found["update"], found["statistics"]
    title = f"teacher of {update['options']['model']}: {update['parameters']:,} weights in {update['tensors']} tensors"
    rows = [
        (
            name,
            _spread(each, unit=1e-3),
            _spread(update["bytes per second"][name], unit=GB) if name in update["bytes"] else "",
            _peak(update["peak memory"][name]),
        )
        for name, each in update["seconds"].items()
    ]
    ratios = [(name, _spread(update[name])) for name in ("share of the copy's bandwidth", "naive loop / our update")]
    apart = [(every, f"{value * 1e3:.3f}") for every, value in update["seconds per step"].items()]
    setting = f"statistics: batch {cost['options']['batch_size']}, {cost['options']['precision']}"
    statistics = [
        ("a step without them, s", _spread(cost["step"], ".3f")),
        ("all of them once, s", _spread(cost["statistics"], ".3f")),
        (f"share of the time, every {cost['options']['every']} steps", _spread(cost["share"], ".3%")),
    ]
    return [
        _table(title, ("", "ms", "GB/s", "peak MB"), rows),
        _table("", ("ratio", ""), ratios, CAPTION),
        _table("", ("an update every ... steps", "ms a step"), apart),
        _table(setting, ("statistics of student and teacher", ""), statistics),
    ]


def evaluation_tables(found: Mapping[str, Any]) -> list[Table]:
    """Of :func:`tracer_lightning.benchmarks.evaluating.measure`."""
    options, suite = found["options"], found["options"]["suite"]
    title = (
        f"student and teacher, {options['model']}, {suite['sets']} sets of {suite['pictures']}, "
        f"{suite['classes']} classes x {suite['templates']} templates, {options['precision']}, {options['accelerator']}"
    )
    rows = [
        (
            name,
            _spread(each),
            f"{found['images per second'][name]['median']:.1f}",
            _peak(found["peak memory"][name]),
        )
        for name, each in found["seconds"].items()
    ]
    ratios = [("plain / ours", _spread(found["plain / ours"]))]
    return [
        _table(title, ("an evaluation", "seconds", "images/s", "peak MB"), rows),
        _table("", ("of times", "ratio"), ratios, CAPTION),
    ]


def lever_tables(found: Mapping[str, Any]) -> list[Table]:
    """Of :func:`tracer_lightning.benchmarks.levers.measure`."""
    options = found["options"]
    title = f"{options['model']}, batch {options['batch_size']}, {options['precision']}, {options['accelerator']}"
    rows = [
        (name, f"{each['with']:.3f}", f"{each['without']:.3f}", _spread(each["ratio"]))
        for name, each in found["levers"].items()
    ]
    return [_table(title, ("a TRACER step, seconds", "with", "without", "ratio"), rows, CAPTION)]


def memory_tables(found: Mapping[str, Any]) -> list[Table]:
    """Of :func:`tracer_lightning.benchmarks.memory.measure_apart`, several times."""
    runs = found["runs"]
    title = f"{runs[0]['model']}, {runs[0]['precision']}, {runs[0]['accelerator']}"
    rows = [
        (
            run["method"],
            str(run["batch_size"]),
            "yes" if run["gradient_checkpointing"] else "no",
            str(run["micro_batch"] or "no"),
            "too little memory" if run["peak"] is None else f"{run['peak']:,.0f}",
            "" if run["seconds"] is None else f"{run['seconds']:.2f}",
        )
        for run in runs
    ]
    columns = ("method", "batch", "checkpointing", "micro-batch", "peak MiB", "s a step")
    return [_table(title, columns, rows, f"imports are within the peak: {runs[0]['imports'] or 0:,.0f} MiB")]
