"""Say how hard data sets are for a model before it is fine-tuned: ``python scripts/diagnose.py --help``."""

from __future__ import annotations

from typing import Any

import hydra
from omegaconf import DictConfig

from tracer_lightning.commands.cli import cli, imports, task
from tracer_lightning.config.errors import wants_traceback

USER_WANTS_TRACEBACK = wants_traceback()


@hydra.main(version_base="1.3", config_path="../conf", config_name="diagnose")
def main(cfg: DictConfig) -> Any:
    """Diagnose what was composed."""
    with imports(USER_WANTS_TRACEBACK):
        from tracer_lightning.commands.diagnose import diagnose

    return task(cfg, USER_WANTS_TRACEBACK, diagnose)


if __name__ == "__main__":
    cli(main, checkpoint="diagnosed")
