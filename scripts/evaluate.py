"""Evaluate finished or published models: ``python scripts/evaluate.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("evaluate")
