"""Merge finished models and evaluate what comes out: ``python scripts/merge.py --help``."""

from __future__ import annotations

from typing import Any

import hydra
from omegaconf import DictConfig

from tracer_lightning.training.cli import cli, imports, task
from tracer_lightning.training.errors import wants_traceback
from tracer_lightning.training.shorthand import spelled_out

USER_WANTS_TRACEBACK = wants_traceback()


@hydra.main(version_base="1.3", config_path="../conf", config_name="merge")
def main(cfg: DictConfig) -> Any:
    """Merge what was composed."""
    with imports(USER_WANTS_TRACEBACK):
        from tracer_lightning.training.merge import merge

    return task(cfg, USER_WANTS_TRACEBACK, merge)


if __name__ == "__main__":
    cli(main, checkpoint="evaluated", shorthand=spelled_out)
