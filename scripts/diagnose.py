"""Say how hard data sets are for a model before it is fine-tuned: ``python scripts/diagnose.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("diagnose")
