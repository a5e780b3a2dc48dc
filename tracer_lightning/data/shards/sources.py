"""Samples to write shards of: folders of pictures, torchvision's data sets, CSV files and iWildCam.

Where a picture is a file its own bytes are the sample; only pictures that exist as pixels alone are encoded, as PNG.
Every function takes ``classnames`` to use instead of those found in the source (None), and raises ValueError for
sources that are missing, incomplete or contradictory.
"""

from __future__ import annotations

import csv
import inspect
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torchvision

from tracer_lightning.data.image_folder import SUFFIXES, FolderSource, class_folders
from tracer_lightning.data.shards.packing import Item
from tracer_lightning.data.shards.writer import Collection

IWILDCAM = "iwildcam_v2.0"
IWILDCAM_SPLITS = {
    "train": ("iwildcam_train", "train"),
    "id_val": ("iwildcam_id_val", "val"),
    "id_test": ("iwildcam_id_test", "test"),
    "test": ("iwildcam_ood_test", "test"),
}
"""WILDS's name of a split to our root and split."""


def folder_collection(folder: Path, classnames: Sequence[str] | None = None) -> Collection:
    """One folder of pictures per class, in the order of their names; ``_`` in a folder's name stands for a space."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; it must hold one folder of pictures per class")
    classes = class_folders(folder)
    names = _checked(classnames, [name.replace("_", " ") for name in classes], f"{folder} has class folders")
    files = FolderSource(folder, classes).files
    return Collection([_file_item(path, str(path.relative_to(folder)), label) for path, label in files], names)


def torchvision_collection(name: str, root: Path, split: str, classnames: Sequence[str] | None = None) -> Collection:
    """A data set of ``torchvision.datasets`` that is already on disk.

    Args:
        name: of its class, such as ``MNIST``.
        root: what the class takes as root.
        split: ``train`` or ``test`` where the class has the flag ``train``; the class's own name of the split
            otherwise, and ignored by classes without splits.
        classnames: instead of the data set's own.

    Returns:
        Pictures as they are where they are files of a known format, encoded as PNG otherwise.
    """
    dataset = _torchvision_dataset(name, root, split)
    own = getattr(dataset, "classes", None)
    if own is None and classnames is None:
        raise ValueError(f"{name} doesn't name its classes; give a file of classnames")
    names = classnames or [str(entry).replace("_", " ") for entry in own or ()]
    if own is not None:
        _checked(names, own, f"{name} has classes")
    labels, files = _labels(dataset), _files(dataset)
    if files:
        items = [_file_item(path, f"{name}/{path.name}", label) for path, label in zip(files, labels, strict=True)]
    else:
        origins = (f"{name}/{split}/{index}" for index in range(len(labels)))
        items = [Item(partial(_encode, dataset, n), origin, "png", labels[n]) for n, origin in enumerate(origins)]
    return Collection(items, names)


def csv_collection(file: Path, classnames: Sequence[str] | None = None) -> Collection:
    """A table with the columns ``path`` (relative to the table) and ``label`` or ``caption`` or both.

    Labels are names of classes or, where not all of them are, indices into ``classnames``. Without ``classnames`` the
    classes are the sorted names in the table.
    """
    rows = list(_csv_rows(file))
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
        items.append(_file_item(path, row["path"], label_of[text] if text else None, row.get("caption") or None))
    return Collection(items, names)


def iwildcam_collections(root: Path, classnames: Sequence[str] | None = None) -> dict[str, Collection]:
    """The splits of WILDS's iWildCam (Beery et al., 2020; version 2.0) that ``IWILDCAM_SPLITS`` lists.

    Args:
        root: the folder ``iwildcam_v2.0``, or the one that holds it.
        classnames: instead of those of ``categories.csv``, one for each value of ``y``.

    Returns:
        WILDS's name of each split to its samples.
    """
    folder = root / IWILDCAM if (root / IWILDCAM).is_dir() else root
    rows = list(_table(folder / "metadata.csv", {"split", "filename", "y"}))
    labels = [_whole_number(row["y"], folder / "metadata.csv") for row in rows]
    count = max(labels, default=-1) + 1
    names = _iwildcam_names(folder / "categories.csv", count) if classnames is None else classnames
    names = _checked(names, range(count), f"{folder / 'metadata.csv'} has classes")
    items: dict[str, list[Item]] = {split: [] for split in IWILDCAM_SPLITS}
    for row, label in zip(rows, labels, strict=True):
        if row["split"] in items:
            items[row["split"]].append(_file_item(folder / "train" / row["filename"], row["filename"], label))
    return {split: Collection(samples, names) for split, samples in items.items()}


def _checked(names: Sequence[str] | None, found: Sequence[Any], where: str) -> Sequence[str]:
    """``names``, or ``found`` in their stead; ValueError where their numbers differ."""
    if names is not None and len(names) != len(found):
        raise ValueError(f"there are {len(names)} classnames, but {where}: {len(found)}; give one name for each")
    return found if names is None else names


def _file_item(path: Path, origin: str, label: int | None, caption: str | None = None) -> Item:
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is no picture of a known format ({', '.join(SUFFIXES)})")
    if not path.is_file():
        raise ValueError(f"{path} is missing; restore the picture or leave it out")
    return Item(path.read_bytes, origin, path.suffix[1:].lower(), label, caption, path.stat().st_size)


def _torchvision_dataset(name: str, root: Path, split: str) -> Any:
    kind: Any = getattr(torchvision.datasets, name, None)
    parameters = inspect.signature(kind).parameters if inspect.isclass(kind) else {}
    if name.startswith("LSUN"):
        raise ValueError(f"{name}: torchvision executes a pickle that it finds beside these data; write a CSV of them")
    if "root" not in parameters:
        raise ValueError(f"torchvision.datasets has no {name!r}; give the name of a class such as MNIST or CIFAR10")
    options: dict[str, Any] = {"split": split} if "split" in parameters else {}
    if "train" in parameters:
        if split not in ("train", "test"):
            raise ValueError(f"split of {name} must be train or test, found {split!r}")
        options = {"train": split == "train"}
    try:
        return kind(root, **options)
    except (RuntimeError, OSError, TypeError, ValueError, UnpicklingError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"torchvision can't read {name} ({split}) below {root}, where it must already be: {reason}"
        ) from error


def _listed(dataset: Any, names: Sequence[str]) -> Sequence[Any] | None:
    """The first of the attributes that has one entry per sample; torchvision has no common name for them."""
    return next(
        (v for v in (getattr(dataset, n, None) for n in names) if v is not None and len(v) == len(dataset)), None
    )


def _files(dataset: Any) -> list[Path]:
    """The data set's pictures, empty where they aren't files of a known format."""
    listed = _listed(dataset, ("_image_files", "_images", "samples", "_samples")) or ()
    paths = [entry[0] if isinstance(entry, tuple) else entry for entry in listed]
    known = all(isinstance(path, str | Path) and Path(path).suffix.lower() in SUFFIXES for path in paths)
    return [Path(path) for path in paths] if known else []


def _labels(dataset: Any) -> list[int]:
    labels = _listed(dataset, ("targets", "labels", "_labels"))
    pairs = _listed(dataset, ("samples", "_samples"))
    if labels is None:
        labels = [pair[1] for pair in (dataset if pairs is None else pairs)]
    return [int(label) for label in labels]


def _encode(dataset: Any, index: int) -> bytes:
    buffer = io.BytesIO()
    dataset[index][0].save(buffer, "png")
    return buffer.getvalue()


def _table(file: Path, needed: set[str]) -> Iterator[dict[str, str]]:
    """Rows of a CSV file that must have some columns."""
    if not file.is_file():
        raise ValueError(f"{file} is missing")
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
        yield row


def _whole_number(text: str, file: Path) -> int:
    if not text.isdecimal():
        raise ValueError(f"{file}: y must be a whole number >= 0, found {text!r}")
    return int(text)


def _iwildcam_names(file: Path, count: int) -> list[str]:
    """Names of the classes below ``count``; the table gives categories that no picture has larger numbers."""
    if not file.is_file():
        raise ValueError(f"{file} is missing, which names the {count} classes; give a file of classnames instead")
    names = {_whole_number(row["y"], file): row["name"] for row in _table(file, {"y", "name"})}
    if missing := [label for label in range(count) if label not in names]:
        raise ValueError(f"{file} doesn't name class {missing[0]}; give a file of classnames instead")
    return [names[label] for label in range(count)]
