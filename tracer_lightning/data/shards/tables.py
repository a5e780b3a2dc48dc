"""Samples to write shards of that a table lists: CSV files and iWildCam."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tracer_lightning.data.images.files import hidden, warn_passed_over
from tracer_lightning.data.shards.packing import Item
from tracer_lightning.data.shards.sources import checked, file_item
from tracer_lightning.data.shards.writer import Collection
from tracer_lightning.storage import check_utf8

IWILDCAM = "iwildcam_v2.0"
IWILDCAM_SPLITS = {
    "train": ("iwildcam_train", "train"),
    "id_val": ("iwildcam_id_val", "val"),
    "id_test": ("iwildcam_id_test", "test"),
    "test": ("iwildcam_ood_test", "test"),
}
"""WILDS's name of a split to our root and split."""
ENGLISH = "english"
"""Column of English names in the released table of iWildCam's classes."""


def csv_collection(file: Path, classnames: Sequence[str] | None = None, skip_empty: bool = False) -> Collection:
    """A table with the columns ``path`` (relative to the table) and ``label`` or ``caption`` or both.

    Labels are names of classes or, where not all of them are, indices into ``classnames``. Without ``classnames`` the
    classes are the sorted names in the table. Blanks around labels and captions are no part of them, and rows of hidden
    files are passed over.

    Args:
        file: the table.
        classnames: instead of the names in the table.
        skip_empty: whether rows with neither label nor caption are left out, and said; else they are refused.
    """
    rows = _kept(file, skip_empty)
    texts = [row["label"] for row in rows if row.get("label")]
    if classnames is None and (numbers := [text for text in texts if text.isdecimal()]):
        raise ValueError(f"{file} has numbers as labels, such as {numbers[0]}; give a file of classnames to name them")
    names = list(classnames or sorted(set(texts)))
    if set(texts) <= set(names):
        if twice := {name for name in names if names.count(name) > 1} & set(texts):
            raise ValueError(f"{file}: two classes are called {min(twice)!r}; give labels as indices from 0 on")
        label_of = {name: index for index, name in enumerate(names)}
    else:
        label_of = {str(index): index for index in range(len(names))}
    items = []
    for row in rows:
        text, path = row.get("label") or "", file.parent / row["path"]
        if text and text not in label_of:
            raise ValueError(f"{file}: {row['path']} has label {text!r}, which isn't among the {len(names)} classnames")
        items.append(file_item(path, row["path"], label_of[text] if text else None, row.get("caption") or None))
    return Collection(items, names)


def iwildcam_collections(
    root: Path, classnames: Sequence[str] | None = None, categories: Path | None = None
) -> dict[str, Collection]:
    """The splits of WILDS's iWildCam (Beery et al., 2020; version 2.0) that ``IWILDCAM_SPLITS`` lists.

    Args:
        root: the folder ``iwildcam_v2.0``, or the one that holds it.
        classnames: one for each value of ``y``, instead of those of a table.
        categories: a table of classes with the columns ``y`` and ``english`` (as FLYP and TRACER have released it) or
            ``name``; None for WILDS's own ``categories.csv``, whose names are scientific ones.

    Returns:
        WILDS's name of each split to its samples.
    """
    folder = root / IWILDCAM if (root / IWILDCAM).is_dir() else root
    rows = list(_table(folder / "metadata.csv", {"split", "filename", "y"}))
    labels = [_whole_number(row["y"], folder / "metadata.csv") for row in rows]
    count = max(labels, default=-1) + 1
    names = _iwildcam_names(categories or folder / "categories.csv", count) if classnames is None else classnames
    names = checked(names, range(count), f"{folder / 'metadata.csv'} has classes")
    items: dict[str, list[Item]] = {split: [] for split in IWILDCAM_SPLITS}
    for row, label in zip(rows, labels, strict=True):
        if row["split"] in items:
            items[row["split"]].append(file_item(folder / "train" / row["filename"], row["filename"], label))
    return {split: Collection(samples, names) for split, samples in items.items()}


def _table(file: Path, needed: set[str]) -> Iterator[dict[str, str]]:
    """Rows of a CSV file that must have some columns."""
    if not file.is_file():
        raise ValueError(f"{file} is missing")
    check_utf8(file)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        if missing := needed - set(reader.fieldnames or ()):
            raise ValueError(f"{file} lacks the column {', '.join(sorted(missing))}; it has {reader.fieldnames}")
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"{file}: line {reader.line_num} has another number of values than the first line; "
                    "put values with commas in double quotes"
                )
            yield row


def _csv_rows(file: Path) -> Iterator[dict[str, str]]:
    for row in _table(file, {"path"}):
        if not (columns := set(row) - {"path"}) or columns - {"label", "caption"}:
            raise ValueError(f"{file}: columns must be path with label or caption or both, found {', '.join(row)}")
        yield {name: value if name == "path" else value.strip() for name, value in row.items()}


def _kept(file: Path, skip_empty: bool) -> list[dict[str, str]]:
    """The rows that become samples; how many others there are is said."""
    rows, passed_over = list[dict[str, str]](), Counter[str]()
    for row in _csv_rows(file):
        path = Path(row["path"])
        if hidden(path.name if path.is_absolute() else row["path"]):
            passed_over["hidden"] += 1
        elif skip_empty and not row.get("label") and not row.get("caption"):
            passed_over["without label or caption"] += 1
        else:
            rows.append(row)
    warn_passed_over(file, passed_over)
    return rows


def _whole_number(text: str, file: Path) -> int:
    if not text.isdecimal():
        raise ValueError(f"{file}: y must be a whole number >= 0, found {text!r}")
    return int(text)


def _iwildcam_names(file: Path, count: int) -> list[str]:
    """Names of the classes below ``count``; the table gives categories that no image has larger numbers."""
    if not file.is_file():
        raise ValueError(f"{file} is missing, which names the {count} classes; give a file of classnames instead")
    rows = list(_table(file, {"y", "name"}))
    column = ENGLISH if rows and ENGLISH in rows[0] else "name"
    names = {_whole_number(row["y"], file): row[column].strip() for row in rows}
    if missing := [label for label in range(count) if label not in names]:
        raise ValueError(f"{file} doesn't name class {missing[0]}; give a file of classnames instead")
    if column != ENGLISH:
        warnings.warn(
            f"{file} has scientific names, and the released runs' captions and heads English ones: give their table "
            "of classes as labels for these",
            stacklevel=2,
        )
    return [names[label] for label in range(count)]
