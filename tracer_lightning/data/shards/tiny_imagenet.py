"""Samples of Tiny-ImageNet, to write to shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tracer_lightning.data.images.files import list_folder
from tracer_lightning.data.images.folder import class_folders
from tracer_lightning.data.images.imagenet import tiny_imagenet_names
from tracer_lightning.data.images.names import split_names
from tracer_lightning.data.shards.packing import SourceSample
from tracer_lightning.data.shards.sources import choose_names, file_sample
from tracer_lightning.data.shards.writer import SampleCollection
from tracer_lightning.storage import read_text, split_lines

IMAGES, ANNOTATIONS, WORDS = "images", "val_annotations.txt", "words.txt"


def tiny_imagenet_collections(root: Path, classnames: Sequence[str] | None = None) -> dict[str, SampleCollection]:
    """Collect the samples of Tiny-ImageNet (Le and Yang, 2015) for the splits ``train`` and ``test``.

    Two layouts are read: the original one (``train/<wnid>/images``, and ``val/images`` with ``val_annotations.txt``),
    whose validation images become the split ``test``, since the test images have no labels; and one folder of images
    per class, ``train/<wnid>`` and ``test/<wnid>`` or ``val/<wnid>``.

    Args:
        root: folder of the splits.
        classnames: one name for each wnid, in their order; None for those of
            :func:`tracer_lightning.data.images.imagenet.tiny_imagenet_names`, which also name the classes more broadly
            in captions, or of the dataset's own ``words.txt``.
    """
    wnids = class_folders(root / "train")
    table = tiny_imagenet_names()
    if classnames is None:
        words = _read_words(root / WORDS) if set(wnids) - set(table) else {}
        train_names = [table.get(wnid) or words.get(wnid, "") for wnid in wnids]
        if "" in train_names:
            unnamed = root / "train" / wnids[train_names.index("")]
            raise ValueError(
                f"{unnamed} is no class of Tiny-ImageNet, and {root / WORDS} does not name it; pass classnames"
            )
        names = [first for first, *_ in split_names(train_names)]
    else:
        names, train_names = list(choose_names(classnames, wnids, f"{root / 'train'} has class folders")), []
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    return {
        "train": SampleCollection(_class_folder_samples(root, "train", label_of), names, train_names),
        "test": SampleCollection(_test_samples(root, label_of), names, train_names),
    }


def _test_samples(root: Path, label_of: dict[str, int]) -> list[SourceSample]:
    if (root / "val" / ANNOTATIONS).is_file() and (root / "val" / IMAGES).is_dir():
        return _annotated_samples(root, label_of)
    for split in ("test", "val"):
        if set(list_folder(root / split).folders if (root / split).is_dir() else ()) & set(label_of):
            return _class_folder_samples(root, split, label_of)
    raise ValueError(f"{root} has neither val/{ANNOTATIONS} nor class folders in test or val")


def _class_folder_samples(root: Path, split: str, label_of: dict[str, int]) -> list[SourceSample]:
    """Samples of class folders whose images are directly inside or in a subfolder ``images``."""
    samples = []
    for wnid in class_folders(root / split):
        folder = root / split / wnid
        if wnid not in label_of:
            raise ValueError(f"{folder} is not a class of {root / 'train'}")
        folder = folder / IMAGES if (folder / IMAGES).is_dir() else folder
        paths = [folder / name for name in list_folder(folder).images]
        if not paths:
            raise ValueError(f"{folder} contains no images")
        samples += [file_sample(path, str(path.relative_to(root)), label_of[wnid]) for path in paths]
    return samples


def _annotated_samples(root: Path, label_of: dict[str, int]) -> list[SourceSample]:
    """Samples of ``val/images``, with their wnids in the second column of ``val_annotations.txt``."""
    samples = []
    annotations, images = root / "val" / ANNOTATIONS, root / "val" / IMAGES
    unlisted = set(list_folder(images).images)
    for number, line in enumerate(split_lines(read_text(annotations)), 1):
        name, wnid = [*line.split("\t"), ""][:2]
        if wnid not in label_of:
            raise ValueError(f"{annotations}: line {number}: {wnid!r} is not a class of {root / 'train'}")
        if "/" in name or name not in unlisted:
            raise ValueError(f"{annotations}: line {number}: {name!r} is missing in {images}, or listed twice")
        unlisted.remove(name)
        path = images / name
        samples.append(file_sample(path, str(path.relative_to(root)), label_of[wnid]))
    if unlisted:
        raise ValueError(f"{annotations} does not list {len(unlisted):,} images of {images}, such as {min(unlisted)}")
    return samples


def _read_words(path: Path) -> dict[str, str]:
    """First synonym of each wnid in the dataset's table of names; none without the table."""
    if not path.is_file():
        return {}
    rows = (line.partition("\t") for line in split_lines(read_text(path)))
    return {wnid: names.split(",")[0].strip() for wnid, _, names in rows}
