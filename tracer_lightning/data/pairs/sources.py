"""Random access to images with captions of their own."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tracer_lightning.data.core.progress import progress_bar
from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.in_memory import PackedCaptions, PackedTexts
from tracer_lightning.data.images.reading import read_image
from tracer_lightning.data.images.shots import ImageSubset
from tracer_lightning.data.pairs.problems import ADDRESS, MISSING, WITHOUT_CAPTION, WITHOUT_IMAGE, Problems
from tracer_lightning.data.pairs.rows import PairRow
from tracer_lightning.data.shards.labels import NO_LABEL


class PairSource(Protocol):
    """Random access to images with captions of their own.

    :class:`tracer_lightning.data.shards.source.IndexedSource` is one, too.
    """

    @property
    def labels(self) -> Sequence[int] | np.ndarray:
        """(N,) classes, which are not used; -1 for none."""

    @property
    def sizes(self) -> np.ndarray:
        """(N,) sizes of the encoded images in bytes."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int) -> RawSample:
        """Return an encoded image with its captions."""

    def captions(self, index: int) -> tuple[str, ...]:
        """Return the captions of an image, without reading the image."""

    def key(self, index: int) -> str:
        """Return a name of an image, by which held-out images are chosen."""


class FilePairs:
    """Images in files, and their captions.

    Args:
        folder: folder that the paths are relative to.
        paths: path of each image, relative or absolute.
        captions: captions of each image.
        sizes: (N,) sizes of the files in bytes.
    """

    def __init__(
        self, folder: Path, paths: Sequence[str], captions: Sequence[Sequence[str]], sizes: np.ndarray
    ) -> None:
        self.folder, self.sizes = folder, sizes
        self._paths, self._captions = PackedTexts(paths), PackedCaptions(captions)

    @property
    def labels(self) -> np.ndarray:
        """(N,) of -1: there are no classes."""
        return np.full(len(self), NO_LABEL)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._captions)

    def __getitem__(self, index: int) -> RawSample:
        """Return an encoded image with its captions."""
        path = self.folder / self._paths[index]
        return RawSample(read_image(path), NO_LABEL, str(path), self._captions[index])

    def captions(self, index: int) -> tuple[str, ...]:
        """Return the captions of an image."""
        return self._captions[index]

    def key(self, index: int) -> str:
        """Return the path of an image as its file of captions has it."""
        return Path(self._paths[index]).as_posix()


class PairSubset(ImageSubset):
    """Subset of images with captions."""

    source: PairSource

    @property
    def sizes(self) -> np.ndarray:
        """(N,) sizes of the encoded images in bytes."""
        sizes: np.ndarray = self.source.sizes[self.positions]
        return sizes

    def captions(self, index: int) -> tuple[str, ...]:
        """Return the captions of an image."""
        return self.source.captions(int(self.positions[index]))

    def key(self, index: int) -> str:
        """Return the name of an image in the source."""
        return self.source.key(int(self.positions[index]))


def collect_files(rows: Iterable[PairRow], folder: Path, problems: Problems) -> FilePairs:
    """Collect the captions of each image file.

    Args:
        rows: rows of a file; several rows may have captions of one image, whose paths may be spelled differently, as
            ``./images/0.png``.
        folder: folder that the paths of images are relative to.
        problems: counts rows that are left out, because a part of them or the file of their image is missing.

    Raises:
        ValueError: too many rows are left out.
    """
    captions: dict[str, list[str]] = {}
    row_counts: dict[str, int] = {}
    for row in rows:
        problems.rows += 1
        if not row.image:
            problems.add(WITHOUT_IMAGE, row.origin)
        elif not row.captions:
            problems.add(WITHOUT_CAPTION, row.origin)
        else:
            image = row.image if "://" in row.image else Path(row.image).as_posix()
            captions.setdefault(image, []).extend(row.captions)
            row_counts[image] = row_counts.get(image, 0) + 1
    sizes: dict[str, int] = {}
    for image in progress_bar(captions, desc="looking for images", unit="image"):
        if "://" in image:
            problems.add(ADDRESS, image, row_counts[image])
        elif (size := _file_size(folder / image)) is None:
            problems.add(MISSING, str(folder / image), row_counts[image])
        else:
            sizes[image] = size
    problems.check()
    existing = np.array(list(sizes.values()), np.int64)
    return FilePairs(folder, list(sizes), [captions[image] for image in sizes], existing)


def _file_size(path: Path) -> int | None:
    """Size of a regular file in bytes; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
