"""Compare finished runs: ``python scripts/collect.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("collect")
