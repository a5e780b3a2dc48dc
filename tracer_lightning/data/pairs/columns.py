"""Columns of images and captions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

KNOWN = (("filepath", "title"), ("image", "caption"))
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

    def find(self, names: Collection[str], file: object) -> tuple[str, str]:
        """Return the columns of images and of captions.

        Args:
            names: columns of the file.
            file: name of the file, for messages.

        Raises:
            ValueError: the file lacks a column.
        """
        chosen = [(self.image or image, self.caption or caption) for image, caption in KNOWN]
        for columns in chosen:
            if set(columns) <= set(names):
                return columns
        wanted = " or ".join(dict.fromkeys(" and ".join(columns) for columns in chosen))
        raise ValueError(
            f"{file} has the columns {', '.join(map(str, names)) or 'none'}, and not {wanted}; set columns to the "
            "names of those of images and captions, as in {image: path, caption: text}"
        )


def parse_columns(columns: Mapping[str, str | None]) -> Columns:
    """Parse the names of columns; raise ValueError for unknown keys and invalid values."""
    if unknown := sorted(set(columns) - set(FIELDS)):
        raise ValueError(f"columns must have keys among {', '.join(FIELDS)}; got {', '.join(unknown)}")
    separator = columns.get("separator")
    if separator is not None and len(separator) != 1:
        raise ValueError(f"columns.separator must be one character or None, got {separator!r}")
    return Columns(**columns)
