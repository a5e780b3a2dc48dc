"""Fine-tune a CLIP model: ``python train.py --help``."""

from typing import Any

import hydra
from omegaconf import DictConfig

from tracer_lightning.commands.cli import cli, imports, task
from tracer_lightning.config.errors import wants_traceback

USER_WANTS_TRACEBACK = wants_traceback()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> Any:
    """Run the composed experiment; a sweeper that searches is given its objective."""
    with imports(USER_WANTS_TRACEBACK):
        from tracer_lightning.commands.train import train

    return task(cfg, USER_WANTS_TRACEBACK, train)


if __name__ == "__main__":
    cli(main)
