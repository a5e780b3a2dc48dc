"""Rows of tables and of COCO's captions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from tracer_lightning.data.core.tables import read_table
from tracer_lightning.data.pairs.columns import Columns
from tracer_lightning.data.shards.samples import captions_of
from tracer_lightning.storage import check_regular, decode_text

PROBED = 100
"""Number of rows by whose keys the columns are found: in JSON, each row has its own."""


class PairRow(NamedTuple):
    """A row of a file."""

    image: str
    """Path of the image, relative to the folder of images or absolute; empty if the row has none."""
    captions: tuple[str, ...]
    """Its captions; empty if it has none."""
    origin: str
    """Location of the row, for messages."""


def read_rows(file: Path, columns: Columns) -> Iterator[PairRow]:
    """Yield the rows of a table (``.csv``, ``.tsv``, ``.jsonl`` or ``.json``) or of a file of COCO's captions.

    Raises:
        ValueError: the file can't be read, or lacks a column.
    """
    if file.suffix.lower() == ".json" and (content := _read_coco(file)) is not None:
        yield from _coco_rows(file, content)
        return
    rows = read_table(file, columns.separator)
    first = list(islice(rows, PROBED))
    names = columns.find([list(fields) for _, fields in first], file)
    for origin, fields in chain(first, rows):
        image, caption = (fields.get(name) for name in names)
        yield PairRow(image.strip() if isinstance(image, str) else "", captions_of(caption), origin)


def _read_coco(file: Path) -> Mapping[str, Any] | None:
    """Read a JSON object with COCO's lists of images and annotations; None for any other content.

    Raises:
        ValueError: there are images without annotations, as in COCO's lists of test images.
    """
    try:
        check_regular(file)
        content = json.loads(decode_text(file.read_bytes(), file))
    except (OSError, json.JSONDecodeError, RecursionError):
        return None  # which read_table reports
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        return None
    if not isinstance(content.get("annotations"), list):
        raise ValueError(f"{file} has no captions, which COCO has in a list of annotations; found {', '.join(content)}")
    return content


def _coco_rows(file: Path, content: Mapping[str, Any]) -> Iterator[PairRow]:
    """Yield a row for each annotation of a COCO file, and one for each image without annotations."""
    names = {entry["id"]: str(entry["file_name"]) for entry in content["images"] if _has(entry, "id", "file_name")}
    described = set()
    for number, entry in enumerate(content["annotations"], 1):
        image = entry["image_id"] if _has(entry, "image_id") else None
        described.add(image)
        caption = entry.get("caption") if isinstance(entry, dict) else None
        yield PairRow(names.get(image, ""), captions_of(caption), f"{file}, annotation {number}")
    for number, name in names.items():
        if number not in described:
            yield PairRow(name, (), f"{file}, image {number}")


def _has(entry: Any, *keys: str) -> bool:
    """Whether an entry is an object with texts or numbers at these keys."""
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str | int) for key in keys)
