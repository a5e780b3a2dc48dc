"""Figures of kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.table import Table

from tracer_lightning.config.build import make
from tracer_lightning.config.errors import setting
from tracer_lightning.config.type_checks import TARGET
from tracer_lightning.config.validate import validate
from tracer_lightning.engine.console import console, print_rank_zero
from tracer_lightning.kernels import Kernel
from tracer_lightning.reporting.style import save
from tracer_lightning.studies.kernels import TeacherMemory, memory, weights_figure


def draw_kernels(cfg: DictConfig) -> dict[str, TeacherMemory]:
    """Draw the kernels of ``cfg``.

    Returns:
        Title to the weights of past models in the last teacher.
    """
    validate(cfg, "kernels")
    keys = {cfg.kernels[name].title: f"kernels.{name}.kernel" for name in cfg.kernels or ()}
    if cfg.kernel is not None:
        keys[_title(cfg.kernel)] = "kernel"
    if not keys:
        raise ValueError("kernels: there is none to draw; choose one with kernel=")
    memories = {}
    for title, key in keys.items():
        with setting(key):
            memories[title] = memory(_make_kernel(cfg, key), cfg.steps)
    console.print(_table(memories, cfg.steps))
    drawing = weights_figure(memories, reference=next(iter(memories.values())))
    for suffix in ("png", "svg"):
        print_rank_zero(str(save(drawing, Path(cfg.out) / f"kernels.{suffix}")))
    return memories


def _title(node: Any) -> str:
    """Title of a kernel: the name of its function or class, and its numeric arguments."""
    arguments = [
        f"{name}={value:g}" for name, value in node.items() if isinstance(value, int | float) and name[0] != "_"
    ]
    name = str(node[TARGET]).rpartition(".")[2]
    return f"{name}({', '.join(arguments)})" if arguments else name


def _make_kernel(cfg: DictConfig, key: str) -> Kernel:
    kernel: Kernel = make(cfg, key)
    if not callable(kernel):
        raise ValueError(f"{key} must be a function of progress, or an object that is called with it: {kernel!r}")
    return kernel


def _table(memories: dict[str, TeacherMemory], steps: int) -> Table:
    table = Table(box=SIMPLE_HEAD, title=f"What the last teacher remembers, T = {steps:,}, in percent")
    table.add_column("kernel", no_wrap=True)
    for column in ("theta_0", "first tenth", "last tenth", "centre", "effective"):
        table.add_column(column, justify="right")
    for title, past in memories.items():
        values = (past.start, past.share(0, 0.1), past.share(0.9, 1), past.centre, past.effective)
        table.add_row(title, *(f"{100 * value:.3g}" for value in values))
    return table
