"""Training, validation and test splits of image folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from tracer_lightning.storage import check_relative

LabelledFiles = list[tuple[Path, int]]
"""Paths of images and their labels."""


def resolve_folder(root: Path, folder: str) -> Path:
    """Return the path of a split's folder, which is relative to ``root`` or absolute."""
    return Path(folder) if Path(folder).is_absolute() else root / check_relative(folder.rstrip("/"))


def resolve_splits(root: Path, folders: Mapping[str, Any]) -> dict[str, Any]:
    """Replace folders that are None by existing default folders below ``root``.

    Where only one folder exists for validation and test, ``val`` and ``test`` are both this folder, and validation
    images must be held out of training.

    Args:
        root: folder of the splits.
        folders: ``train``, ``val``, ``test``, ``ood`` and perhaps ``others``; see
            :class:`tracer_lightning.data.images.folder.ImageFolderDataModule`.

    Raises:
        ValueError: there is no test folder.
    """
    val, test = folders["val"], folders["test"]
    ood, others = (
        {name: value for name, value in (folders.get(role) or {}).items() if value is not None}
        for role in ("ood", "others")
    )
    existing = [name for name in ("val", "test") if (root / name).is_dir()]
    if test is None:
        test = "test" if "test" in existing else "val" if "val" in existing and val is None else None
    if test is None and not root.is_dir():
        raise ValueError(f"root={root} is not a folder; it must contain one folder per split")
    if test is None:
        raise ValueError(
            f"root={root} contains no folder {'test or val' if val is None else 'test'} to test on; add one, or set "
            "folders.test"
        )
    if val is None:
        val = "val" if "val" in existing else test
    test_folders = {resolve_folder(root, name).resolve() for name in (test, *ood.values())}
    return {
        **folders,
        "val": test if resolve_folder(root, val).resolve() in test_folders else val,
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
