"""Merge finished models and evaluate what comes out: ``python scripts/merge.py --help``."""

from __future__ import annotations

from typing import Any

import hydra
from omegaconf import DictConfig

from tracer_lightning.commands.cli import cli, imports, task
from tracer_lightning.config.errors import wants_traceback
from tracer_lightning.config.shorthand import expand_merge

USER_WANTS_TRACEBACK = wants_traceback()


@hydra.main(version_base="1.3", config_path="../conf", config_name="merge")
def main(cfg: DictConfig) -> Any:
    """Merge what was composed."""
    with imports(USER_WANTS_TRACEBACK):
        from tracer_lightning.commands.merge import merge

    return task(cfg, USER_WANTS_TRACEBACK, merge)


if __name__ == "__main__":
    cli(main, checkpoint="evaluated", shorthand=expand_merge)
