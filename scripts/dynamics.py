"""Compare how teacher and student of several runs evolve: ``python scripts/dynamics.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("dynamics")
