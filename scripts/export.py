"""Export a model for open_clip: ``python scripts/export.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("export")
