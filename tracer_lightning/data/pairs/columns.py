"""Columns of images and captions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

IMAGES, CAPTIONS = ("filepath", "image"), ("title", "caption")
"""Names of the columns of images and captions that are recognised: open_clip's, and plain ones."""
FIELDS = ("image", "caption", "separator")


class Columns(NamedTuple):
    """Names of the columns of a file."""

    image: str | None = None
    """Column of images; None for a known one."""
    caption: str | None = None
    """Column of captions; None for a known one."""
    separator: str | None = None
    """Character between the columns of a CSV or TSV file; None to recognise it in the first line."""

    def find(self, rows: Sequence[Collection[str]], file: object) -> tuple[str, str]:
        """Return the columns of images and of captions that most rows have.

        Args:
            rows: columns of the file, or those of each of some rows.
            file: name of the file, for messages.

        Raises:
            ValueError: no row has both columns.
        """
        images = IMAGES if self.image is None else (self.image,)
        captions = CAPTIONS if self.caption is None else (self.caption,)
        pairs = [(image, caption) for image in images for caption in captions]
        counts = [sum({*pair} <= {*row} for row in rows) for pair in pairs]
        if not any(counts):
            names = dict.fromkeys(name for row in rows for name in row)
            raise ValueError(
                f"{file} has the columns {', '.join(map(repr, names)) or 'none'}, and not {' or '.join(images)} with "
                f"{' or '.join(captions)}; set columns to the names of those of images and captions, as in "
                "{image: path, caption: text}"
            )
        return pairs[counts.index(max(counts))]


def parse_columns(columns: Mapping[str, str | None]) -> Columns:
    """Parse the names of columns; raise ValueError for unknown keys and invalid values."""
    if unknown := sorted(set(columns) - set(FIELDS)):
        raise ValueError(f"columns must have keys among {', '.join(FIELDS)}; got {', '.join(unknown)}")
    separator = columns.get("separator")
    if separator is not None and len(separator) != 1:
        raise ValueError(f"columns.separator must be one character or None, got {separator!r}")
    return Columns(**columns)
