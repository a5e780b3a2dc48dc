"""Evaluate finished or published models: ``python scripts/evaluate.py --help``."""

from __future__ import annotations

from typing import Any

import hydra
from omegaconf import DictConfig

from tracer_lightning.commands.cli import cli, imports, task
from tracer_lightning.config.errors import wants_traceback

USER_WANTS_TRACEBACK = wants_traceback()


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
def main(cfg: DictConfig) -> Any:
    """Evaluate what was composed."""
    with imports(USER_WANTS_TRACEBACK):
        from tracer_lightning.commands.evaluate import evaluate

    return task(cfg, USER_WANTS_TRACEBACK, evaluate)


if __name__ == "__main__":
    cli(main, checkpoint="evaluated")
