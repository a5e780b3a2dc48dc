"""List finished runs with their main results: ``python scripts/runs.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("runs")
