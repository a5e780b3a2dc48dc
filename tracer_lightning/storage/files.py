"""Writing as a whole or not at all, under temporary names that nobody else uses."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

PREFIX = ".tracer-partial-"
PARTIAL = re.compile(rf"{re.escape(PREFIX)}[0-9a-f]{{16}}-[0-9a-f]{{16}}")
"""Names of what is being written: a digest of the final name, and a random number, so that writers don't meet."""


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

    What a killed process left of the same file is removed before; what another process is writing is not.

    Raises:
        OSError: of the system, as on a full disk; then ``path`` is as it was, and the temporary file is gone.
    """
    with _partial(path, lambda partial: partial.touch(exist_ok=False)) as partial:
        yield partial
        flush(partial)
        partial.replace(path)
    flush(path.parent)


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """Fill the folder that this yields; it becomes ``folder`` once it is whole and on the disk.

    Leftovers are treated as by :func:`replacing`.

    Args:
        folder: absent or empty; its parents are made if need be.

    Raises:
        FileExistsError: somebody else has filled ``folder`` meanwhile.
        OSError: of the system, as on a full disk; ``folder`` is as it was, and the temporary one is gone.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _partial(folder, Path.mkdir) as partial:
        yield partial
        for path in (*partial.rglob("*"), partial):
            flush(path)
        try:
            partial.rename(folder)
        except OSError as error:
            if folder.is_dir() and any(folder.iterdir()):
                raise FileExistsError(f"{folder} exists already, and is not empty") from error
            raise
    flush(folder.parent)


def write_text(path: Path, text: str) -> None:
    """Replace the file's content, as a whole or not at all; OSError as in :func:`replacing`.

    What UTF-8 has no place for, halves of characters that JSON may name, is written as escapes.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def remove_stale(folder: Path) -> None:
    """Remove the files that a killed process was writing in the folder, which nobody may be writing in now."""
    for path in _partials(folder, PREFIX):
        if stat.S_ISREG(path.lstat().st_mode):
            _remove(path)


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock on a file or folder, which the system releases when the process ends, however it does.

    This yields False where the file system has no such locks.

    Raises:
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        locks = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            locks = False
        yield locks
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _partial(path: Path, create: Callable[[Path], None]) -> Iterator[Path]:
    """Make a partial of ``path`` that this process holds, so that others leave it alone; a failure removes it."""
    prefix = f"{PREFIX}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}-"
    _remove_abandoned(path.parent, prefix)
    with contextlib.ExitStack() as lock, _named(path):
        partial = _new(path, prefix, create, lock)
        try:
            yield partial
        except BaseException:
            _remove(partial)
            raise


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have errors name the file that is written, for a user knows nothing of partials."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            error.filename = PARTIAL.sub(lambda _: path.name, str(error.filename))
        raise


def _new(path: Path, prefix: str, create: Callable[[Path], None], lock: contextlib.ExitStack) -> Path:
    while True:
        partial = path.with_name(f"{prefix}{secrets.token_hex(8)}")
        create(partial)
        with contextlib.suppress(BlockingIOError, FileNotFoundError):  # another process took it for abandoned
            lock.enter_context(held(partial))
            if partial.exists():
                return partial


def _partials(folder: Path, prefix: str) -> Iterator[Path]:
    return (path for path in folder.glob(f"{prefix}*") if PARTIAL.fullmatch(path.name))


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove partials of one name that no process holds."""
    for path in _partials(folder, prefix):
        with contextlib.suppress(OSError):  # such as that it is held
            if stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFREG, stat.S_IFDIR):
                with held(path) as locked:
                    if locked:
                        _remove(path)


def _remove(partial: Path) -> None:
    """Remove a partial if that can be done; what it was of is unharmed where it can't."""
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
