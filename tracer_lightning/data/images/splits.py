"""Which images of a folder are trained on, which validate, and which test."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from tracer_lightning.storage import check_relative

Files = list[tuple[Path, int]]
"""Images and their labels."""


def located(root: Path, folder: str) -> Path:
    """The folder of a split, which is relative to ``root`` or absolute."""
    return Path(folder) if Path(folder).is_absolute() else root / check_relative(folder.rstrip("/"))


def settled(root: Path, folders: Mapping[str, Any]) -> dict[str, Any]:
    """The folders of splits, with those that lie below ``root`` in place of null.

    Where there is no folder to validate on beside the one to test on, ``val`` and ``test`` are the same: validation
    images are then to be held out of training.

    Args:
        root: folder of the splits.
        folders: ``train``, ``val``, ``test`` and ``ood``: see
            :class:`tracer_lightning.data.images.folder.ImageFolderDataModule`.

    Raises:
        ValueError: there is no folder to test on.
    """
    val, test = folders["val"], folders["test"]
    ood = {name: folder for name, folder in (folders.get("ood") or {}).items() if folder is not None}
    present = [name for name in ("val", "test") if (root / name).is_dir()]
    if test is None:
        test = "test" if "test" in present else "val" if "val" in present and val is None else None
    if test is None and not root.is_dir():
        raise ValueError(f"data.root={root} is no folder; it must hold one folder per split")
    if test is None:
        raise ValueError(
            f"data.root={root} holds no folder {'test or val' if val is None else 'test'} to test on; add one, or name "
            "it as data.folders.test"
        )
    if val is None:
        val = "val" if "val" in present else test
    tested = {located(root, name).resolve() for name in (test, *ood.values())}
    return {**folders, "val": test if located(root, val).resolve() in tested else val, "test": test, "ood": ood}


def hold_out(files: Sequence[tuple[Path, int]], fraction: float, seed: int) -> tuple[Files, Files]:
    """Divide labelled images among training and validation, by class.

    Whether an image is held out depends on its name, its class and those of its class alone: it is the same in every
    process, on every machine, and but for few images after others were added.

    Args:
        files: images, those of a class next to each other, and their labels.
        fraction: share of each class that is held out, at least one image and never all of them, in (0, 1).
        seed: another seed holds out other images.

    Returns:
        Those to train on and those held out.
    """
    kept: Files = []
    held: Files = []
    for _, group in groupby(files, key=lambda entry: entry[1]):
        members = list(group)
        count = min(len(members) - 1, max(1, round(fraction * len(members))))
        chosen = set(sorted(members, key=lambda entry: _draw(entry[0], seed))[:count])
        held += [entry for entry in members if entry in chosen]
        kept += [entry for entry in members if entry not in chosen]
    return kept, held


def _draw(path: Path, seed: int) -> bytes:
    """An image's random number, which its name and its class's folder determine."""
    return sha256(f"{seed}/".encode() + os.fsencode(f"{path.parent.name}/{path.name}")).digest()
