"""Recognition of image files and of hidden files by name."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tracer_lightning.functional.wording import counted

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


Skipped = dict[str, list[str]]
"""Files that are no data, by reason."""
NAMED = 2
"""Greatest number of skipped files that a message names for each reason."""


class FolderListing(NamedTuple):
    """Contents of a folder without hidden files and folders."""

    images: list[str]
    """Sorted names of the images."""
    folders: list[str]
    """Sorted names of the subfolders."""
    skipped: Skipped
    """Names of other entries."""


def list_folder(folder: Path) -> FolderListing:
    """List a folder, without opening any file."""
    images, folders, skipped = list[str](), list[str](), defaultdict[str, list[str]](list)
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_symlink() and not Path(entry).exists():
                skipped["broken links"].append(entry.name)
            elif not is_image(entry.name):
                skipped[f".{suffix_of(entry.name)}" if suffix_of(entry.name) else "without a suffix"].append(entry.name)
            elif entry.is_file():
                images.append(entry.name)
            else:
                skipped["pipes or devices"].append(entry.name)
    return FolderListing(sorted(images), sorted(folders), skipped)


def images_below(folder: Path) -> Iterator[Path]:
    """Paths of the images in a folder and its subfolders."""
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(path, name) for name in sorted(names) if is_image(name) and not is_hidden(name))


def warn_skipped(where: object, skipped: Skipped) -> None:
    """Warn of skipped files, with their number and some of their names by reason."""
    parts = [
        f"{len(names):,} {reason} ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"
        for reason, names in sorted(skipped.items(), key=lambda item: -len(item[1]))
        if names
    ]
    if parts:
        count = sum(map(len, skipped.values()))
        verb = counted(count, "file is", "files are")
        warnings.warn(f"{where}: {verb} skipped: {', '.join(parts)}", stacklevel=3)
