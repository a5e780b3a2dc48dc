"""Draw what the teacher remembers with each kernel: ``python scripts/kernels.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("kernels")
