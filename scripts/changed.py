"""Show which images a run forgot and learned: ``python scripts/changed.py --help``."""

from __future__ import annotations

from typing import Any

import hydra
from omegaconf import DictConfig

from tracer_lightning.commands.cli import cli, imports, task
from tracer_lightning.config.errors import wants_traceback

USER_WANTS_TRACEBACK = wants_traceback()


@hydra.main(version_base="1.3", config_path="../conf", config_name="changed")
def main(cfg: DictConfig) -> Any:
    """Compare what was composed."""
    with imports(USER_WANTS_TRACEBACK):
        from tracer_lightning.commands.changed import changed

    return task(cfg, USER_WANTS_TRACEBACK, changed)


if __name__ == "__main__":
    cli(main, checkpoint="diagnosed")
