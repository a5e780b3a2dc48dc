"""Samples to write shards of: folders of images and torchvision's data sets.

Where an image is a file its own bytes are the sample; only images that exist as pixels alone are encoded, as PNG.
Every function takes ``classnames`` to use instead of those found in the source (None), and raises ValueError for
sources that are missing, incomplete or contradictory.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torchvision

from tracer_lightning.data.images.files import SUFFIXES, hidden, is_image, suffix_of
from tracer_lightning.data.images.folder import FolderSource, class_folders
from tracer_lightning.data.shards.packing import Item
from tracer_lightning.data.shards.writer import Collection


def folder_collection(folder: Path, classnames: Sequence[str] | None = None, every_class: bool = False) -> Collection:
    """One folder of images per class, in the order of their names; ``_`` in a folder's name stands for a space.

    Args:
        folder: of the classes' folders.
        classnames: instead of the folders' names.
        every_class: whether every class must have an image, as for training.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; it must hold one folder of images per class")
    classes = class_folders(folder)
    names = checked(classnames, [name.replace("_", " ").strip() for name in classes], f"{folder} has class folders")
    source = FolderSource(folder, classes)
    if every_class:
        source.check_classes()
    return Collection([file_item(path, str(path.relative_to(folder)), label) for path, label in source.files], names)


def torchvision_collection(name: str, root: Path, split: str, classnames: Sequence[str] | None = None) -> Collection:
    """A data set of ``torchvision.datasets`` that is already on disk.

    Args:
        name: of its class, such as ``MNIST``.
        root: what the class takes as root.
        split: ``train`` or ``test`` where the class has the flag ``train``; the class's own name of the split
            otherwise, and ignored by classes without splits.
        classnames: instead of the data set's own.

    Returns:
        Images as they are where they are files of a known format, encoded as PNG otherwise.
    """
    dataset = _torchvision_dataset(name, root, split)
    own = getattr(dataset, "classes", None)
    if own is None and classnames is None:
        raise ValueError(f"{name} doesn't name its classes; give a file of classnames")
    names = classnames or [str(entry).replace("_", " ").strip() for entry in own or ()]
    if own is not None:
        checked(names, own, f"{name} has classes")
        if folders := [str(entry) for entry in own if hidden(str(entry))]:
            raise ValueError(f"{name} takes the hidden folder {folders[0]} below {root} for a class; remove it")
    labels, files = _labels(dataset), _files(dataset)
    if files:
        pairs = [pair for pair in zip(files, labels, strict=True) if not hidden(pair[0].name)]
        items = [file_item(path, f"{name}/{path.name}", label) for path, label in pairs]
    else:
        origins = (f"{name}/{split}/{index}" for index in range(len(labels)))
        items = [Item(partial(_encode, dataset, n), origin, "png", labels[n]) for n, origin in enumerate(origins)]
    return Collection(items, names)


def checked(names: Sequence[str] | None, found: Sequence[Any], where: str) -> Sequence[str]:
    """``names``, or ``found`` in their stead; ValueError where their numbers differ."""
    if names is not None and len(names) != len(found):
        raise ValueError(f"there are {len(names)} classnames, but {where}: {len(found)}; give one name for each")
    return found if names is None else names


def file_item(path: Path, origin: str, label: int | None, caption: str | None = None) -> Item:
    """The sample of an image that is a file; ValueError where it is none."""
    if not is_image(path.name):
        raise ValueError(f"{path} is no image of a known format ({', '.join(SUFFIXES)})")
    if not path.is_file():
        raise ValueError(f"{path} is missing; restore the image or leave it out")
    return Item(path.read_bytes, origin, suffix_of(path.name), label, caption, path.stat().st_size)


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
    """The data set's images, empty where they aren't files of a known format."""
    listed = _listed(dataset, ("_image_files", "_images", "samples", "_samples")) or ()
    paths = [entry[0] if isinstance(entry, tuple) else entry for entry in listed]
    known = all(isinstance(path, str | Path) and is_image(str(path)) for path in paths)
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
