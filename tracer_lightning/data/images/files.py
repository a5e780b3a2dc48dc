"""Which files are images, and which are no data at all."""

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
"""Suffixes of images, in lower case, and PIL's name of their format. PIL reads others, too, with other programs."""
SUFFIXES = tuple(FORMAT_OF)
HIDDEN = frozenset(("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir", "lost+found"))
"""What systems and their programs leave between files, beside names that begin with a dot."""


def hidden(name: str) -> bool:
    """Whether a path, or a folder on the way to it, is no data but what some system or program has left there."""
    parts = [part for part in PurePosixPath(name).parts if part != ".."]
    return any(part.startswith(".") or part.lower() in HIDDEN for part in parts)


def is_image(name: str) -> bool:
    """Whether a file's name ends like that of an image."""
    return suffix_of(name) in FORMAT_OF


def suffix_of(name: str) -> str:
    """What stands behind the last dot of a file's name, in lower case."""
    return PurePosixPath(name).suffix[1:].lower()


class Listing(NamedTuple):
    """What lies in a folder; hidden files and folders are not looked at."""

    images: list[str]
    """Names of its images, sorted."""
    folders: list[str]
    """Names of its folders, sorted."""
    passed_over: Counter[str]
    """How many other entries there are, by reason."""


def listed(folder: Path) -> Listing:
    """What lies in a folder, told apart without a look into any file."""
    images, folders, passed_over = list[str](), list[str](), Counter[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if hidden(entry.name):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_symlink() and not Path(entry).exists():
                passed_over["links to nothing"] += 1
            elif not is_image(entry.name):
                passed_over[f".{suffix_of(entry.name)}" if suffix_of(entry.name) else "without a suffix"] += 1
            elif entry.is_file():
                images.append(entry.name)
            else:
                passed_over["pipes or devices"] += 1
    return Listing(sorted(images), sorted(folders), passed_over)


def images_below(folder: Path) -> int:
    """How many images a folder and those in it hold."""
    count = 0
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not hidden(name)]
        count += sum(is_image(name) and not hidden(name) for name in names)
    return count


def warn_passed_over(where: object, passed_over: Counter[str]) -> None:
    """Say in one line what was not read, by reason."""
    counts = {reason: count for reason, count in passed_over.most_common() if count}
    if counts:
        parts = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        warnings.warn(f"{where}: {sum(counts.values()):,} files are passed over: {parts}", stacklevel=3)
