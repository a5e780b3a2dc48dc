"""Files that are whole or absent, whatever ends the process.

:mod:`tracer_lightning.storage.checkpoints` needs torch and Lightning, and is imported by its own name.
"""

from tracer_lightning.storage.archives import check_archive, check_tensors
from tracer_lightning.storage.files import flush, held, making, remove_stale, replacing, write_text
from tracer_lightning.storage.kinds import MANY_FILES
from tracer_lightning.storage.names import below
from tracer_lightning.storage.reading import TEXT_BYTES, check_regular, check_utf8, decoded, lines_of, read_text
from tracer_lightning.storage.scalars import STAND_INS

__all__ = [
    "MANY_FILES",
    "STAND_INS",
    "TEXT_BYTES",
    "below",
    "check_archive",
    "check_regular",
    "check_tensors",
    "check_utf8",
    "decoded",
    "flush",
    "held",
    "lines_of",
    "making",
    "read_text",
    "remove_stale",
    "replacing",
    "write_text",
]
