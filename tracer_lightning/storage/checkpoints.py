"""Atomic checkpoint files and their rotation: next, last and previous."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from tracer_lightning.storage.archives import check_archive
from tracer_lightning.storage.files import atomic_file, flush
from tracer_lightning.storage.run_layout import LAST, NEXT, PREVIOUS
from tracer_lightning.storage.scalars import STAND_INS


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint IO that writes to a temporary file in the same folder, syncs it to disk and renames it.

    Lightning's default needs twice the size of the file in memory, and moves the file from another folder.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a checkpoint atomically.

        Raises:
            OSError: the file can't be written, as on a full disk; the previous file is unchanged.
        """
        if storage_options is not None:
            raise TypeError("storage_options must be None for local files")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_file(path) as partial, partial.open("wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch's zip writer reports positions instead
                raise error.__context__ from None
            raise

    def load_checkpoint(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Load as Lightning does, with NumPy scalars as plain numbers; :func:`check_archive` must have been called."""
        with torch.serialization.safe_globals(STAND_INS):
            return super().load_checkpoint(*args, **options)


def promote_checkpoint(folder: Path, keep: bool = True) -> None:
    """Rename the last checkpoint to previous, and the next one to last.

    A run that is killed between the two renames resumes from the previous checkpoint.

    Args:
        folder: folder of the checkpoints.
        keep: whether the last checkpoint becomes the previous one; False where it is damaged.
    """
    last = folder / LAST
    if keep and last.exists():
        last.replace(folder / PREVIOUS)
    (folder / NEXT).replace(last)
    flush(folder)


def keep_weights(folder: Path) -> None:
    """Leave only the last checkpoint of a finished run, without the state of the optimizer.

    Args:
        folder: folder of the checkpoints.
    """
    files, last = AtomicCheckpointIO(), folder / LAST
    content = files.load_checkpoint(last, map_location="cpu", weights_only=True)
    if content.get("optimizer_states"):
        files.save_checkpoint({**content, "optimizer_states": []}, last)
    (folder / PREVIOUS).unlink(missing_ok=True)


def is_intact(path: Path) -> bool:
    """Whether a checkpoint is complete and its checksums match; this reads the whole file."""
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        return False
