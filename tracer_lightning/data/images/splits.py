"""Training, validation and test splits of image folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from tracer_lightning.storage import check_relative

ROOT = "."
"""The training folder where the class folders are in the root itself."""
LabelledFiles = list[tuple[Path, int]]
"""Paths of images and their labels."""


def resolve_folder(root: Path, folder: str) -> Path:
    """Return the path of a split's folder, which is relative to ``root`` or absolute."""
    if folder == ROOT or Path(folder).is_absolute():
        return root / folder
    return root / check_relative(folder.rstrip("/"))


def resolve_splits(root: Path, folders: Mapping[str, Any]) -> dict[str, Any]:
    """Replace folders that are None by existing default folders below ``root``.

    Where only one folder exists for validation and test, ``val`` and ``test`` are both this folder, and validation
    images must be held out of training. Where none exists, both are the training folder, and test images must be held
    out, too. Without a folder for any split, ``root`` itself is the training folder.

    Args:
        root: folder of the splits.
        folders: ``train``, ``val``, ``test``, ``ood`` and perhaps ``others`` and ``imagenet``; see
            :class:`tracer_lightning.data.images.folder.ImageFolderDataModule`.

    Raises:
        ValueError: ``root`` is no folder, or has folders of other splits and none for training.
    """
    val, test = folders["val"], folders["test"]
    ood, others = (
        {name: value for name, value in (folders.get(role) or {}).items() if value is not None}
        for role in ("ood", "others")
    )
    existing = [name for name in ("train", "val", "test") if (root / name).is_dir()]
    train = folders["train"] or ("train" if "train" in existing else None if existing else ROOT)
    if None in (folders["train"], test) and not root.is_dir():
        raise ValueError(f"root={root} is not a folder; it must contain one folder per class or per split")
    if train is None:
        raise ValueError(f"root={root} contains {existing[0]}, but no folder train; add it, or set folders.train")
    if test is None:
        test = "test" if "test" in existing else "val" if "val" in existing and val is None else train
    if val is None:
        val = "val" if "val" in existing else test
    train_folder = resolve_folder(root, train).resolve()
    if resolve_folder(root, test).resolve() == train_folder:
        test = train
    other_uses = {train_folder, *(resolve_folder(root, name).resolve() for name in (test, *ood.values()))}
    return {
        **folders,
        "train": train,
        "val": test if resolve_folder(root, val).resolve() in other_uses else val,
        "test": test,
        "ood": ood,
        **({"others": others} if "others" in folders else {}),
    }


def hold_out(files: Sequence[tuple[Path, int]], fraction: float, seed: int) -> tuple[LabelledFiles, LabelledFiles]:
    """Split labelled images into training and validation, class by class.

    Whether an image is held out depends only on the file names of its class: the split is the same in every process and
    on every machine, and changes little when images are added.

    Args:
        files: images and their labels, grouped by class.
        fraction: fraction of each class to hold out, in (0, 1); at least one image, and never all of them.
        seed: seed of the split.

    Returns:
        Training images and held-out images.
    """
    train: LabelledFiles = []
    held_out: LabelledFiles = []
    for _, group in groupby(files, key=lambda entry: entry[1]):
        entries = list(group)
        count = min(len(entries) - 1, max(1, round(fraction * len(entries))))
        selected = set(sorted(entries, key=lambda entry: _sort_key(entry[0], seed))[:count])
        held_out += [entry for entry in entries if entry in selected]
        train += [entry for entry in entries if entry not in selected]
    return train, held_out


def _sort_key(path: Path, seed: int) -> bytes:
    """Pseudorandom key of an image, determined by its name and the name of its class folder."""
    return sha256(f"{seed}/".encode() + os.fsencode(f"{path.parent.name}/{path.name}")).digest()
