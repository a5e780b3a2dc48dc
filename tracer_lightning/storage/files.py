"""Atomic writes of files and folders under unique temporary names, and file locks."""

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
"""Pattern of temporary names: a digest of the final name, and a random number that keeps writers apart."""


def flush(path: Path) -> None:
    """Sync a file or folder to disk; for folders this is best effort, since some file systems don't support it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces ``path`` once it is complete and synced to disk.

    Temporary files of the same target that killed processes left behind are removed first; those that another process
    is writing are kept.

    Raises:
        OSError: the file can't be written, as on a full disk; ``path`` is unchanged and the temporary file removed.
    """
    with _partial(path, lambda partial: partial.touch(exist_ok=False)) as partial:
        yield partial
        flush(partial)
        partial.replace(path)
    flush(path.parent)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes ``folder`` once it is complete and synced to disk.

    Leftover temporary folders are treated as by :func:`atomic_file`.

    Args:
        folder: target, which must be absent or empty; missing parents are created.

    Raises:
        FileExistsError: another process has filled ``folder`` in the meantime.
        OSError: a file can't be written, as on a full disk; ``folder`` is unchanged and the temporary one removed.
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
    """Replace a file's content atomically; OSError as in :func:`atomic_file`.

    Lone surrogates, which JSON may contain and UTF-8 can't encode, are written as escapes.
    """
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def remove_stale(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder in which no process may be writing."""
    for path in _partials(folder, PREFIX):
        if stat.S_ISREG(path.lstat().st_mode):
            _remove(path)


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on a file or folder; the system releases it when the process ends for any reason.

    Yields False where the file system does not support locks.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        locked = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            locked = False
        yield locked
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _partial(path: Path, create: Callable[[Path], None]) -> Iterator[Path]:
    """Create a temporary sibling of ``path``, locked by this process; remove it on failure."""
    prefix = f"{PREFIX}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}-"
    _remove_abandoned(path.parent, prefix)
    with contextlib.ExitStack() as lock, _target_in_errors(path):
        partial = _create_locked(path, prefix, create, lock)
        try:
            yield partial
        except BaseException:
            _remove(partial)
            raise


@contextlib.contextmanager
def _target_in_errors(path: Path) -> Iterator[None]:
    """Replace temporary names in errors by the target's name, which the user knows."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            error.filename = PARTIAL.sub(lambda _: path.name, str(error.filename))
        raise


def _create_locked(path: Path, prefix: str, create: Callable[[Path], None], lock: contextlib.ExitStack) -> Path:
    while True:
        partial = path.with_name(f"{prefix}{secrets.token_hex(8)}")
        create(partial)
        with contextlib.suppress(BlockingIOError, FileNotFoundError):  # another process removed it as abandoned
            lock.enter_context(file_lock(partial))
            if partial.exists():
                return partial


def _partials(folder: Path, prefix: str) -> Iterator[Path]:
    return (path for path in folder.glob(f"{prefix}*") if PARTIAL.fullmatch(path.name))


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove temporary files and folders with this prefix that no process has locked."""
    for path in _partials(folder, prefix):
        with contextlib.suppress(OSError):  # for example, it is locked
            if stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFREG, stat.S_IFDIR):
                with file_lock(path) as locked:
                    if locked:
                        _remove(path)


def _remove(partial: Path) -> None:
    """Remove a temporary file or folder; failures are ignored, since the target is unaffected."""
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
