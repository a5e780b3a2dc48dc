"""Pictures of kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.table import Table

from tracer_lightning.config.build import make
from tracer_lightning.config.errors import setting
from tracer_lightning.config.validate import check_complete, check_whole
from tracer_lightning.engine.console import console, print_rank_zero
from tracer_lightning.kernels import Kernel
from tracer_lightning.reporting.style import save
from tracer_lightning.studies.kernels import TeacherMemory, memory, weights_figure


def _called(node: Any) -> str:
    """A title for what the user chose: the function or class, and what it is given."""
    given = [f"{name}={value:g}" for name, value in node.items() if isinstance(value, int | float) and name[0] != "_"]
    name = str(node["_target_"]).rpartition(".")[2]
    return f"{name}({', '.join(given)})" if given else name


def _kernel(cfg: DictConfig, key: str) -> Kernel:
    kernel: Kernel = make(cfg, key)
    if not callable(kernel):
        raise ValueError(f"{key} must be a function of progress, or an object that is called with it: {kernel!r}")
    return kernel


def _table(kernels: dict[str, TeacherMemory], steps: int) -> Table:
    table = Table(box=SIMPLE_HEAD, title=f"What the last teacher remembers, T = {steps:,}, in percent")
    table.add_column("kernel", no_wrap=True)
    for column in ("theta_0", "first tenth", "last tenth", "centre", "effective"):
        table.add_column(column, justify="right")
    for title, found in kernels.items():
        values = (found.start, found.share(0, 0.1), found.share(0.9, 1), found.centre, found.effective)
        table.add_row(title, *(f"{100 * value:.3g}" for value in values))
    return table


def draw_kernels(cfg: DictConfig) -> dict[str, TeacherMemory]:
    """Draw the kernels of ``cfg``.

    Returns:
        Title to what the last teacher remembers.
    """
    check_complete(cfg)
    check_whole(cfg.steps, "steps", 1)
    chosen = {cfg.kernels[name].title: f"kernels.{name}.kernel" for name in cfg.kernels or ()}
    if cfg.kernel is not None:
        chosen[_called(cfg.kernel)] = "kernel"
    if not chosen:
        raise ValueError("kernels: there is none to draw; choose one with kernel=")
    found = {}
    for title, key in chosen.items():
        with setting(key):
            found[title] = memory(_kernel(cfg, key), cfg.steps)
    console.print(_table(found, cfg.steps))
    drawn = weights_figure(found, reference=next(iter(found.values())))
    for suffix in ("png", "svg"):
        print_rank_zero(str(save(drawn, Path(cfg.out) / f"kernels.{suffix}")))
    return found
