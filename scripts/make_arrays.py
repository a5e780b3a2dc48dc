"""Convert a task of NAS-Bench-360 to arrays: ``python scripts/make_arrays.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("make_arrays")
