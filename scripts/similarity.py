"""Compare models block by block: ``python scripts/similarity.py --help``."""

from __future__ import annotations

from typing import Any

import hydra
from omegaconf import DictConfig

from tracer_lightning.commands.cli import cli, imports, task
from tracer_lightning.config.errors import wants_traceback
from tracer_lightning.config.shorthand import expand_similarity

USER_WANTS_TRACEBACK = wants_traceback()


@hydra.main(version_base="1.3", config_path="../conf", config_name="similarity")
def main(cfg: DictConfig) -> Any:
    """Compare what was composed."""
    with imports(USER_WANTS_TRACEBACK):
        from tracer_lightning.commands.similarity import similarity

    return task(cfg, USER_WANTS_TRACEBACK, similarity)


if __name__ == "__main__":
    cli(main, checkpoint="diagnosed", shorthand=expand_similarity)
