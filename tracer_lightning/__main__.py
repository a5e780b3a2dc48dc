"""``python -m tracer_lightning``, which is the program ``tracer``."""

from tracer_lightning.commands.program import main

if __name__ == "__main__":
    main()
