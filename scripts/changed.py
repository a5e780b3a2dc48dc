"""Show which images a run forgot and learned: ``python scripts/changed.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("changed")
