"""Recognition of image files and of hidden files by name."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

FORMAT_OF = {
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "JPEG"),
    "png": "PNG",
    "webp": "WEBP",
    "bmp": "BMP",
    **dict.fromkeys(("tif", "tiff"), "TIFF"),
    "gif": "GIF",
}
"""PIL's name of an image format by lower-case suffix."""
SUFFIXES = tuple(FORMAT_OF)
HIDDEN = frozenset(("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir", "lost+found"))
"""Names of system files and folders that are ignored, in addition to names that begin with a dot."""


def is_hidden(name: str) -> bool:
    """Whether a path or one of its parent folders is hidden or a system file, and not data."""
    parts = [part for part in PurePosixPath(name).parts if part != ".."]
    return any(part.startswith(".") or part.lower() in HIDDEN for part in parts)


def is_image(name: str) -> bool:
    """Whether a file name has the suffix of an image format."""
    return suffix_of(name) in FORMAT_OF


def suffix_of(name: str) -> str:
    """Return the part of a file name after the last dot, in lower case."""
    return PurePosixPath(name).suffix[1:].lower()


class FolderListing(NamedTuple):
    """Contents of a folder without hidden files and folders."""

    images: list[str]
    """Sorted names of the images."""
    folders: list[str]
    """Sorted names of the subfolders."""
    skipped: Counter[str]
    """Number of other entries by reason."""


def list_folder(folder: Path) -> FolderListing:
    """List a folder, without opening any file."""
    images, folders, skipped = list[str](), list[str](), Counter[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_symlink() and not Path(entry).exists():
                skipped["broken links"] += 1
            elif not is_image(entry.name):
                skipped[f".{suffix_of(entry.name)}" if suffix_of(entry.name) else "without a suffix"] += 1
            elif entry.is_file():
                images.append(entry.name)
            else:
                skipped["pipes or devices"] += 1
    return FolderListing(sorted(images), sorted(folders), skipped)


def count_images(folder: Path) -> int:
    """Count the images in a folder and its subfolders."""
    count = 0
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        count += sum(is_image(name) and not is_hidden(name) for name in names)
    return count


def warn_skipped(where: object, skipped: Counter[str]) -> None:
    """Warn of skipped files, with their number by reason."""
    counts = {reason: count for reason, count in skipped.most_common() if count}
    if counts:
        parts = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        warnings.warn(f"{where}: {sum(counts.values()):,} files are skipped: {parts}", stacklevel=3)
