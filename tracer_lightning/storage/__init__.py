"""Files that are whole or absent, whatever ends the process."""

from tracer_lightning.storage.archives import COMPRESSED, check_archive, check_tensors
from tracer_lightning.storage.checkpoints import (
    LAST,
    NEXT,
    PREVIOUS,
    AtomicCheckpointIO,
    is_intact,
    put_in_force,
)
from tracer_lightning.storage.files import flush, remove_stale, replacing, write_text
from tracer_lightning.storage.names import below
from tracer_lightning.storage.reading import TEXT_BYTES, check_regular, read_text

__all__ = [
    "COMPRESSED",
    "LAST",
    "NEXT",
    "PREVIOUS",
    "TEXT_BYTES",
    "AtomicCheckpointIO",
    "below",
    "check_archive",
    "check_regular",
    "check_tensors",
    "flush",
    "is_intact",
    "put_in_force",
    "read_text",
    "remove_stale",
    "replacing",
    "write_text",
]
