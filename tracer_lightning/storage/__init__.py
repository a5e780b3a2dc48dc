"""Atomic writes, file locks, and validation of files that others may have written.

:mod:`tracer_lightning.storage.checkpoints` needs torch and Lightning, and is imported by its own name.
"""

from tracer_lightning.storage.archives import check_archive, check_tensors
from tracer_lightning.storage.files import atomic_file, atomic_folder, file_lock, flush, remove_stale, write_text
from tracer_lightning.storage.kinds import MANY_FILES
from tracer_lightning.storage.names import check_relative
from tracer_lightning.storage.reading import TEXT_BYTES, check_regular, check_utf8, decode_text, read_text, split_lines
from tracer_lightning.storage.scalars import STAND_INS

__all__ = [
    "MANY_FILES",
    "STAND_INS",
    "TEXT_BYTES",
    "atomic_file",
    "atomic_folder",
    "check_archive",
    "check_regular",
    "check_relative",
    "check_tensors",
    "check_utf8",
    "decode_text",
    "file_lock",
    "flush",
    "read_text",
    "remove_stale",
    "split_lines",
    "write_text",
]
