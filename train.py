"""Fine-tune a CLIP model: ``python train.py --help``."""

import hydra
from omegaconf import DictConfig

from tracer_lightning.training.cli import cli, task
from tracer_lightning.training.errors import wants_traceback

USER_WANTS_TRACEBACK = wants_traceback()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    """Run the composed experiment."""
    task(cfg, USER_WANTS_TRACEBACK)


if __name__ == "__main__":
    cli(main)
