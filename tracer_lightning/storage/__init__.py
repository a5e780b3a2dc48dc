"""Files that are whole or absent, whatever ends the process."""

from tracer_lightning.storage.checkpoints import (
    LAST,
    NEXT,
    PREVIOUS,
    AtomicCheckpointIO,
    is_intact,
    put_in_force,
)
from tracer_lightning.storage.files import flush, remove_stale, replacing, write_text

__all__ = [
    "LAST",
    "NEXT",
    "PREVIOUS",
    "AtomicCheckpointIO",
    "flush",
    "is_intact",
    "put_in_force",
    "remove_stale",
    "replacing",
    "write_text",
]
