"""Inspect the images of a run before anything is trained: ``python scripts/check.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("check")
