"""Classify images without labels: ``python scripts/predict.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("predict")
