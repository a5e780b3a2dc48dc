"""Compare models block by block: ``python scripts/similarity.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("similarity")
