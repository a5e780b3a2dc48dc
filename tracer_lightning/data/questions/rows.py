"""Questions of a file with their images."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from tracer_lightning.data.core.tables import read_table
from tracer_lightning.data.images.decoding import decode
from tracer_lightning.data.images.in_memory import PackedTexts
from tracer_lightning.data.images.reading import read_image
from tracer_lightning.data.images.splits import hold_out
from tracer_lightning.data.questions.conversations import Turn
from tracer_lightning.data.questions.layouts import Layout, find_layout
from tracer_lightning.data.questions.parsing import QuestionRow, parse_row

PROBED = 16
"""Number of rows whose images are looked for when a file is opened."""


class QuestionRows:
    """Rows of a file, in one object whose memory forked workers share.

    Args:
        file: the file, for messages.
        folder: folder that the paths of images are relative to.
        packed: rows as JSON.
        positions: (N,) positions of the rows in ``packed``.
    """

    def __init__(self, file: Path, folder: Path, packed: PackedTexts, positions: np.ndarray) -> None:
        self.file, self.folder = file, folder
        self._packed, self._positions = packed, positions

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._positions)

    def __getitem__(self, index: int) -> QuestionRow:
        """Return a row."""
        row = QuestionRow(*json.loads(self._packed[int(self._positions[index])]))
        return row._replace(turns=tuple(Turn(*turn) for turn in row.turns), options=tuple(row.options))

    def __iter__(self) -> Iterator[QuestionRow]:
        """Iterate over the rows."""
        return (self[index] for index in range(len(self)))

    def hold_out(self, fraction: float, seed: int) -> tuple[QuestionRows, QuestionRows]:
        """Split into training rows and held-out rows, so that no image is in both.

        The choice depends only on the seed and the paths of the images
        (:func:`tracer_lightning.data.images.splits.hold_out`).

        Args:
            fraction: fraction of the images to hold out, in (0, 1); at least one.
            seed: seed of the choice.

        Raises:
            ValueError: there is only one image.
        """
        images = [Path(row.image) for row in self]
        _, held_out = hold_out([(image, 0) for image in dict.fromkeys(images)], fraction, seed)
        if not held_out:
            raise ValueError(
                f"{self.file} has questions about one image only, so that none can be held out for validation; add "
                "images, set val to another file, or held_out.fraction to 0"
            )
        selected = {image for image, _ in held_out}
        is_held_out = np.array([image in selected for image in images])
        return self._subset(~is_held_out), self._subset(is_held_out)

    def _subset(self, mask: np.ndarray) -> QuestionRows:
        return QuestionRows(self.file, self.folder, self._packed, self._positions[mask])

    def read_image(self, row: QuestionRow) -> Tensor:
        """Decode the image of a row to (3, H, W) uint8.

        Raises:
            UnreadableImageError: the file is missing, no regular file, or no image.
        """
        return decode(read_image(self.folder / row.image))


def read_rows(file: Path, folder: Path, columns: Layout | None = None, lists_options: bool = False) -> QuestionRows:
    """Read and check all rows of a file; images are read later, and rows of text alone are left out with a warning.

    Args:
        file: ``.jsonl``, ``.json`` or ``.csv`` file.
        folder: folder that the paths of images are relative to.
        columns: keys of the file; None to find a known layout by the keys of the first row.
        lists_options: see :func:`tracer_lightning.data.questions.parsing.parse_row`.

    Raises:
        ValueError: a row is invalid, no row has an image, or none of the first images exists; the message names file
            and row.
    """
    texts: list[str] = []
    images: list[str] = []
    left_out: list[str] = []
    for origin, fields in read_table(file):
        columns = find_layout(fields, origin) if columns is None else columns
        row = parse_row(fields, columns, origin, lists_options)
        if row is None:
            left_out.append(origin)
            continue
        texts.append(json.dumps(row))
        if len(images) < PROBED:
            images.append(row.image)
    _report_left_out(file, left_out, len(texts))
    if not any((folder / image).is_file() for image in images):
        raise ValueError(
            f"{file}: no image of its first {len(images)} rows exists, such as {folder / images[0]}; set folder to the "
            "folder that the images' paths are relative to"
        )
    return QuestionRows(file, folder, PackedTexts(texts), np.arange(len(texts)))


def _report_left_out(file: Path, left_out: list[str], kept: int) -> None:
    """Warn of rows of text alone; raise ValueError where there are no others."""
    if not left_out:
        return
    if not kept:
        raise ValueError(f"{left_out[0]}: it has no image, and neither has any other row; add images, or set columns")
    total = len(left_out) + kept
    fate = (
        "is left out, because it has no image:"
        if len(left_out) == 1
        else "are left out, because they have no image, the first of them"
    )
    warnings.warn(
        f"{file}: {len(left_out):,} of {total:,} rows {fate} {left_out[0].removeprefix(f'{file}, ')}",
        stacklevel=3,
    )
