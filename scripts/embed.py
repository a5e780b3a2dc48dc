"""Compute features of images, arrays or texts: ``python scripts/embed.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("embed")
