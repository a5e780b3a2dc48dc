"""Collections of samples listed in tables, to write to shards: CSV files and iWildCam."""

from __future__ import annotations

import csv
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from tracer_lightning.data.images.files import is_hidden, warn_skipped
from tracer_lightning.data.shards.packing import SourceSample
from tracer_lightning.data.shards.sources import choose_names, file_sample
from tracer_lightning.data.shards.writer import SampleCollection
from tracer_lightning.storage import check_utf8

IWILDCAM = "iwildcam_v2.0"
IWILDCAM_SPLITS = {
    "train": ("iwildcam_train", "train"),
    "id_val": ("iwildcam_id_val", "val"),
    "id_test": ("iwildcam_id_test", "test"),
    "test": ("iwildcam_ood_test", "test"),
}
"""Root and split of the written shards by WILDS's name of a split."""
ENGLISH = "english"
"""Column of English class names in the released table of iWildCam's classes."""


def csv_collection(file: Path, classnames: Sequence[str] | None = None, skip_empty: bool = False) -> SampleCollection:
    """Collect the samples of a table with the columns ``path`` (relative to it) and ``label``, ``caption`` or both.

    Labels are class names or, if not all of them are, indices into ``classnames``. Without ``classnames`` the classes
    are the sorted names in the table. Blanks around labels and captions are stripped, and rows of hidden files are
    skipped.

    Args:
        file: CSV file.
        classnames: replacement of the names in the table.
        skip_empty: whether rows with neither label nor caption are skipped with a warning; otherwise they raise errors.
    """
    rows = _read_sample_rows(file, skip_empty)
    texts = [row["label"] for row in rows if row.get("label")]
    if classnames is None and (numbers := [text for text in texts if text.isdecimal()]):
        raise ValueError(f"{file} has numbers as labels, such as {numbers[0]}; pass classnames that name them")
    names = list(classnames or sorted(set(texts)))
    if set(texts) <= set(names):
        if duplicates := {name for name in names if names.count(name) > 1} & set(texts):
            raise ValueError(
                f"{file}: two classes are called {min(duplicates)!r}; use indices, counted from 0, as labels"
            )
        label_of = {name: index for index, name in enumerate(names)}
    else:
        label_of = {str(index): index for index in range(len(names))}
    items = []
    for row in rows:
        text, path = row.get("label") or "", file.parent / row["path"]
        if text and text not in label_of:
            raise ValueError(f"{file}: {row['path']} has label {text!r}, which isn't among the {len(names)} classnames")
        items.append(file_sample(path, row["path"], label_of[text] if text else None, row.get("caption") or None))
    return SampleCollection(items, names)


def iwildcam_collections(
    root: Path, classnames: Sequence[str] | None = None, categories: Path | None = None
) -> dict[str, SampleCollection]:
    """Collect the samples of WILDS's iWildCam (Beery et al., 2020; version 2.0) for the splits in ``IWILDCAM_SPLITS``.

    Args:
        root: the folder ``iwildcam_v2.0``, or its parent.
        classnames: one name for each value of ``y``, which replace those of the table.
        categories: table of classes with the columns ``y`` and ``english`` (as released by FLYP and TRACER) or
            ``name``; None for WILDS's own ``categories.csv``, which has scientific names.

    Returns:
        Samples by WILDS's name of the split.
    """
    folder = root / IWILDCAM if (root / IWILDCAM).is_dir() else root
    rows = list(_read_table(folder / "metadata.csv", {"split", "filename", "y"}))
    labels = [_parse_index(row["y"], folder / "metadata.csv") for row in rows]
    count = max(labels, default=-1) + 1
    names = _iwildcam_names(categories or folder / "categories.csv", count) if classnames is None else classnames
    names = choose_names(names, range(count), f"{folder / 'metadata.csv'} has classes")
    items: dict[str, list[SourceSample]] = {split: [] for split in IWILDCAM_SPLITS}
    for row, label in zip(rows, labels, strict=True):
        if row["split"] in items:
            items[row["split"]].append(file_sample(folder / "train" / row["filename"], row["filename"], label))
    return {split: SampleCollection(samples, names) for split, samples in items.items()}


def _read_table(file: Path, required: set[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file, which must have the given columns."""
    if not file.is_file():
        raise ValueError(f"{file} is missing")
    check_utf8(file)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        if missing := required - set(reader.fieldnames or ()):
            raise ValueError(f"{file} lacks the column {', '.join(sorted(missing))}; it has {reader.fieldnames}")
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"{file}: line {reader.line_num} does not have as many values as the first line; "
                    "put values with commas in double quotes"
                )
            yield row


def _csv_rows(file: Path) -> Iterator[dict[str, str]]:
    for row in _read_table(file, {"path"}):
        if not (columns := set(row) - {"path"}) or columns - {"label", "caption"}:
            raise ValueError(f"{file}: columns must be path with label, caption or both, found {', '.join(row)}")
        yield {name: value if name == "path" else value.strip() for name, value in row.items()}


def _read_sample_rows(file: Path, skip_empty: bool) -> list[dict[str, str]]:
    """Read the rows of samples; warn of skipped rows."""
    rows, skipped = list[dict[str, str]](), defaultdict[str, list[str]](list)
    for row in _csv_rows(file):
        path = Path(row["path"])
        if is_hidden(path.name if path.is_absolute() else row["path"]):
            skipped["hidden"].append(row["path"])
        elif skip_empty and not row.get("label") and not row.get("caption"):
            skipped["without label or caption"].append(row["path"])
        else:
            rows.append(row)
    warn_skipped(file, skipped)
    return rows


def _parse_index(text: str, file: Path) -> int:
    if not text.isdecimal():
        raise ValueError(f"{file}: y must be an integer >= 0, found {text!r}")
    return int(text)


def _iwildcam_names(file: Path, count: int) -> list[str]:
    """Read the names of the first ``count`` classes; the table's further categories have no images."""
    if not file.is_file():
        raise ValueError(f"{file}, which names the {count} classes, is missing; pass classnames instead")
    rows = list(_read_table(file, {"y", "name"}))
    column = ENGLISH if rows and ENGLISH in rows[0] else "name"
    names = {_parse_index(row["y"], file): row[column].strip() for row in rows}
    if missing := [label for label in range(count) if label not in names]:
        raise ValueError(f"{file} doesn't name class {missing[0]}; pass classnames instead")
    if column != ENGLISH:
        warnings.warn(
            f"{file} has scientific names, but the released captions and heads have English ones; pass the released "
            "table as categories to use them",
            stacklevel=2,
        )
    return [names[label] for label in range(count)]
