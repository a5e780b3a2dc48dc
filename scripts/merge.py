"""Merge finished models and evaluate what comes out: ``python scripts/merge.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("merge")
