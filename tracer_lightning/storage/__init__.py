"""Files that are whole or absent, whatever ends the process.

:mod:`tracer_lightning.storage.checkpoints` needs torch and Lightning, and is imported by its own name.
"""

from tracer_lightning.storage.files import flush, held, making, remove_stale, replacing, write_text

__all__ = ["flush", "held", "making", "remove_stale", "replacing", "write_text"]
