"""Collections of samples to write to shards: folders of images and torchvision's datasets.

Image files are packed unchanged; images that exist only as pixels are encoded as PNG. Every function accepts
``classnames`` that replace those of the source (None), and raises ValueError for sources that are missing, incomplete
or inconsistent.
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

from tracer_lightning.data.images.files import SUFFIXES, is_hidden, is_image, suffix_of
from tracer_lightning.data.images.folder import FolderSource, class_folders
from tracer_lightning.data.images.names import check_order
from tracer_lightning.data.images.splits import hold_out
from tracer_lightning.data.shards.packing import SourceSample
from tracer_lightning.data.shards.writer import SampleCollection


def folder_collection(
    folder: Path, classnames: Sequence[str] | None = None, every_class: bool = False
) -> SampleCollection:
    """Collect the images in one folder per class, sorted by name; ``_`` in a folder's name stands for a space.

    Args:
        folder: folder of the class folders.
        classnames: replacement of the folders' names.
        every_class: whether every class must have an image, as for training.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; it must contain one folder of images per class")
    classes = class_folders(folder)
    names = choose_names(
        classnames, [name.replace("_", " ").strip() for name in classes], f"{folder} has class folders"
    )
    source = FolderSource(folder, classes)
    if every_class:
        source.check_classes()
    return SampleCollection(
        [file_sample(path, str(path.relative_to(folder)), label) for path, label in source.files], names
    )


def torchvision_collection(
    name: str, root: Path, split: str, classnames: Sequence[str] | None = None
) -> SampleCollection:
    """Collect the samples of a dataset of ``torchvision.datasets`` that is already on disk.

    Args:
        name: name of the dataset's class, such as ``MNIST``.
        root: ``root`` argument of the class.
        split: ``train`` or ``test`` where the class has the argument ``train``; otherwise its ``split`` argument, which
            is ignored for classes without splits.
        classnames: replacement of the dataset's own class names.

    Returns:
        Image files of known formats unchanged, and other images encoded as PNG.
    """
    dataset = _torchvision_dataset(name, root, split)
    classes = getattr(dataset, "classes", None)
    if classes is None and classnames is None:
        raise ValueError(f"{name} doesn't name its classes; pass classnames")
    names = classnames or [str(entry).replace("_", " ").strip() for entry in classes or ()]
    if classes is not None:
        choose_names(names, classes, f"{name} has classes")
        if folders := [str(entry) for entry in classes if is_hidden(str(entry))]:
            raise ValueError(f"{name} treats the hidden folder {folders[0]} below {root} as a class; remove it")
    labels, files = _labels(dataset), _files(dataset)
    if files:
        pairs = [pair for pair in zip(files, labels, strict=True) if not is_hidden(pair[0].name)]
        items = [file_sample(path, f"{name}/{path.name}", label) for path, label in pairs]
    else:
        origins = (f"{name}/{split}/{index}" for index in range(len(labels)))
        items = [
            SourceSample(partial(_encode, dataset, n), origin, "png", labels[n]) for n, origin in enumerate(origins)
        ]
    return SampleCollection(items, names)


def hold_out_samples(collection: SampleCollection, fraction: float) -> tuple[SampleCollection, SampleCollection]:
    """Split a collection into training samples and samples held out for validation, class by class.

    Which samples are held out depends only on their names (:func:`tracer_lightning.data.images.splits.hold_out`).

    Args:
        collection: labelled samples.
        fraction: fraction of each class to hold out, > 0 and < 1; at least one sample, and never all of them.

    Raises:
        ValueError: a sample has no class, or every class has only one sample.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the held-out fraction must be > 0 and < 1, got {fraction}")
    if unlabelled := [sample.origin for sample in collection.samples if sample.label is None]:
        raise ValueError(f"{unlabelled[0]} has no class, by which samples are held out")
    samples = sorted(collection.samples, key=lambda sample: sample.label or 0)
    sample_of = {(Path(sample.origin), sample.label or 0): sample for sample in samples}
    train, held_out = hold_out(list(sample_of), fraction, seed=0)
    if not held_out:
        raise ValueError("every class has only one sample, so that none can be held out")
    return (
        collection._replace(samples=[sample_of[entry] for entry in train]),
        collection._replace(samples=[sample_of[entry] for entry in held_out]),
    )


def choose_names(names: Sequence[str] | None, own_names: Sequence[Any], source: str) -> Sequence[str]:
    """Return ``names`` or, where they are None, ``own_names``.

    Raises:
        ValueError: their numbers differ, or they are the same names in another order.
    """
    if names is None:
        return own_names
    if len(names) != len(own_names):
        raise ValueError(f"there are {len(names)} classnames, but {source}: {len(own_names)}; pass one name for each")
    check_order("classnames", names, [*map(str, own_names)], "the data set")
    return names


def file_sample(path: Path, origin: str, label: int | None, caption: str | None = None) -> SourceSample:
    """Make a sample of an image file; raise ValueError where it is no image or missing."""
    if not is_image(path.name):
        raise ValueError(f"{path} is not an image of a known format ({', '.join(SUFFIXES)})")
    if not path.is_file():
        raise ValueError(f"{path} is missing; restore or remove the image")
    return SourceSample(path.read_bytes, origin, suffix_of(path.name), label, caption, path.stat().st_size)


def _torchvision_dataset(name: str, root: Path, split: str) -> Any:
    dataset_class: Any = getattr(torchvision.datasets, name, None)
    parameters = inspect.signature(dataset_class).parameters if inspect.isclass(dataset_class) else {}
    if name.startswith("LSUN"):
        raise ValueError(f"{name}: torchvision executes a pickle beside these data; list them in a CSV file instead")
    if "root" not in parameters:
        raise ValueError(f"torchvision.datasets has no {name!r}; pass the name of a class such as MNIST or CIFAR10")
    options: dict[str, Any] = {"split": split} if "split" in parameters else {}
    if "train" in parameters:
        if split not in ("train", "test"):
            raise ValueError(f"split of {name} must be train or test, got {split!r}")
        options = {"train": split == "train"}
    try:
        return dataset_class(root, **options)
    except (RuntimeError, OSError, TypeError, ValueError, UnpicklingError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"torchvision can't read {name} ({split}) below {root}, where it must already be: {reason}"
        ) from error


def _per_sample_attribute(dataset: Any, names: Sequence[str]) -> Sequence[Any] | None:
    """Return the first attribute with one entry per sample; torchvision has no common name for it."""
    return next(
        (
            values
            for values in (getattr(dataset, name, None) for name in names)
            if values is not None and len(values) == len(dataset)
        ),
        None,
    )


def _files(dataset: Any) -> list[Path]:
    """Return the paths of the dataset's images; empty where they aren't files of a known format."""
    entries = _per_sample_attribute(dataset, ("_image_files", "_images", "samples", "_samples")) or ()
    paths = [entry[0] if isinstance(entry, tuple) else entry for entry in entries]
    are_images = all(isinstance(path, str | Path) and is_image(str(path)) for path in paths)
    return [Path(path) for path in paths] if are_images else []


def _labels(dataset: Any) -> list[int]:
    labels = _per_sample_attribute(dataset, ("targets", "labels", "_labels"))
    pairs = _per_sample_attribute(dataset, ("samples", "_samples"))
    if labels is None:
        labels = [pair[1] for pair in (dataset if pairs is None else pairs)]
    return [int(label) for label in labels]


def _encode(dataset: Any, index: int) -> bytes:
    buffer = io.BytesIO()
    dataset[index][0].save(buffer, "png")
    return buffer.getvalue()
