"""Writing as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".tmp"
"""Ending of what is being written; a file of that name is what a killed process left."""


def flush(path: Path) -> None:
    """Have the system write a file or folder to the disk; folders are best effort, since some systems can't."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the path that this yields; ``path`` is replaced by it once it is whole and on the disk.

    Raises:
        OSError: of the system, as on a full disk; then ``path`` is as it was, and the temporary file is gone.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    flush(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace the file's content, as a whole or not at all; OSError as in :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_stale(folder: Path) -> None:
    """Remove what a killed process was writing in the folder, which nobody may be writing in now."""
    for path in folder.glob(f"*{TEMPORARY}"):
        path.unlink(missing_ok=True)
