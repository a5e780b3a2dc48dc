"""Checkpoints on the disk: the one in force, the one before, and the next."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from tracer_lightning.storage.archives import check_archive
from tracer_lightning.storage.files import flush, replacing
from tracer_lightning.storage.run_layout import LAST, NEXT, PREVIOUS
from tracer_lightning.storage.scalars import STAND_INS


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, flushes it to the disk and renames it.

    Lightning's own writes through memory, twice the size of the file, and moves it from another folder.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save as a whole or not at all.

        Raises:
            OSError: of the system, as on a full disk; what was there before is as it was.
        """
        if storage_options is not None:
            raise TypeError("storage_options are of no use for local files")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(path) as partial, partial.open("wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch's zip writer speaks of positions instead
                raise error.__context__ from None
            raise

    def load_checkpoint(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Load as Lightning does, and numbers of NumPy's as plain ones; the file was checked before."""
        with torch.serialization.safe_globals(STAND_INS):
            return super().load_checkpoint(*args, **options)


def promote_checkpoint(folder: Path, keep: bool = True) -> None:
    """Make the next checkpoint the last one, and the last one the previous.

    Between the two renamings there is no last one; a run that is killed there continues from the previous.

    Args:
        folder: of the checkpoints.
        keep: False where the last one is damaged, so that the previous is worth more.
    """
    last = folder / LAST
    if keep and last.exists():
        last.replace(folder / PREVIOUS)
    (folder / NEXT).replace(last)
    flush(folder)


def is_intact(path: Path) -> bool:
    """Whether a checkpoint is whole and its contents have their checksums, which reads all of it."""
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        return False
