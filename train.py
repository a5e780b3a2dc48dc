"""Fine-tune a CLIP model: ``python train.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("train")
