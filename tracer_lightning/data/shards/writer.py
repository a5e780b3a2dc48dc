"""Writing shards in the format of the clip-benchmark data sets.

``ROOT/classnames.txt`` and ``ROOT/zeroshot_classification_templates.txt`` serve all splits. ``ROOT/<split>`` holds
``0.tar``, ``1.tar``, ... with members ``s0000000.jpg`` (the image's own bytes), ``.cls`` (class index) and ``.txt``
(caption), ``nshards.txt``, and ``manifest.json``. Equal sources and settings give equal bytes, whether or not a run was
interrupted: until a split is complete, ``journal.json`` stands in for the manifest and lists the shards so far.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tracer_lightning.data.images.files import hidden
from tracer_lightning.data.images.names import PLACEHOLDER, plain, warn_alike
from tracer_lightning.data.shards.manifest import (
    CLASSNAMES,
    FORMAT,
    JOURNAL,
    MANIFEST,
    NSHARDS,
    TEMPLATES,
    Manifest,
    Shard,
    load_manifest,
    save_manifest,
    shard_fault,
    tar_files,
)
from tracer_lightning.data.shards.packing import Item, write_shard
from tracer_lightning.storage import file_lock, read_text, remove_stale, split_lines, write_text


class Collection(NamedTuple):
    """Samples of one split and the names of their classes; none for pairs of images and captions."""

    items: Sequence[Item]
    classnames: Sequence[str]


@dataclass(frozen=True)
class Layout:
    """How samples are dealt out; ValueError for limits below 1."""

    seed: int = 0  # of the order, which is shuffled once over all shards
    max_samples: int = 1000  # per shard
    max_bytes: int = 200_000_000  # per tar file; a larger sample has a shard of its own

    def __post_init__(self) -> None:
        for name in ("max_samples", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number >= 1, found {getattr(self, name)}")


def write_shards(
    collection: Collection,
    root: Path,
    split: str,
    templates: Sequence[str],
    layout: Layout,
    overwrite: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Write one split, or what an interrupted run with the same arguments has left to do.

    Args:
        collection: the samples, at least one, and their classes.
        root: folder of the data set; its other splits must have the same classes and templates.
        split: name of the folder within.
        templates: for zero-shot classification, each with the placeholder ``{c}``.
        layout: order and limits.
        overwrite: whether to start over where the split was made from another source or with another layout.
        on_progress: called after each shard with the number of samples done so far.

    Returns:
        What ``manifest.json`` holds.

    Raises:
        ValueError: for bad samples or texts, and where ``root`` already holds something else.
    """
    manifest = _plan(collection, split, templates, layout)
    folder = root / split
    texts = _texts(root, split, {CLASSNAMES: collection.classnames, TEMPLATES: templates})
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        shards = [] if overwrite else _recorded(folder, manifest)
        _begin(folder, manifest, shards, texts)
        order = list(collection.items)
        random.Random(layout.seed).shuffle(order)
        for done in _complete(folder, manifest, shards, order):
            if on_progress:
                on_progress(done)
        _end(folder, manifest)
    return manifest


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing in the folder; ValueError where one does."""
    try:
        with file_lock(folder):
            yield
    except BlockingIOError:
        raise ValueError(f"{folder}: another process writes there; wait for it, or choose another folder") from None


def _complete(folder: Path, manifest: Manifest, recorded: list[Shard], order: Sequence[Item]) -> Iterator[int]:
    """Keep the recorded shards that are intact, write the others, and enter both; the samples done after each."""
    done = 0
    while done < len(order):
        index = len(manifest["shards"])
        if index < len(recorded) and shard_fault(folder, recorded[index]) is None:
            shard = recorded[index]
        else:
            shard = write_shard(folder / f"{index}.tar", order, done, manifest)
            # What follows a rewritten shard remains valid only where it still begins at the same sample.
            same = index < len(recorded) and recorded[index]["samples"] == shard["samples"]
            recorded = [*recorded[:index], shard, *(recorded[index + 1 :] if same else ())]
            save_manifest(folder / JOURNAL, {**manifest, "shards": recorded})
        manifest["shards"].append(shard)
        done += shard["samples"]
        yield done


def _plan(collection: Collection, split: str, templates: Sequence[str], layout: Layout) -> Manifest:
    """The manifest without shards; ValueError for samples or texts that can't be written."""
    items, names = collection
    if not re.fullmatch(r"\w[\w.-]*", split):
        raise ValueError(f"split must be a folder name of letters, digits and . _ -, found {split!r}")
    if not items:
        raise ValueError(f"split {split!r} has no samples; check the source")
    for number, name in enumerate(names):
        if not name.strip() or name.splitlines() != [name]:
            raise ValueError(f"classnames: class {number} is called {name!r}; every name must be one line of text")
    warn_alike(names, [plain(name) for name in names])
    for template in templates:
        if PLACEHOLDER not in template or template.splitlines() != [template]:
            raise ValueError(f"templates: {template!r} must be one line with the placeholder {PLACEHOLDER}")
    counts = [0] * len(names)
    source = hashlib.sha256(json.dumps(list(names)).encode())
    for item in items:
        if item.label is None and not item.caption:
            raise ValueError(f"{item.origin} has neither label nor caption; give it one of them")
        if item.label is not None:
            if not 0 <= item.label < len(names):
                raise ValueError(f"{item.origin} has label {item.label}, but there are {len(names)} classnames")
            counts[item.label] += 1
        source.update(json.dumps([item.origin, item.size, item.suffix, item.label, item.caption]).encode())
    return {
        "format": FORMAT, "split": split, "samples": len(items), "num_classes": len(names), "class_counts": counts,
        "seed": layout.seed, "max_samples": layout.max_samples, "max_bytes": layout.max_bytes,
        "source": source.hexdigest(), "shards": [],
    }  # fmt: skip


def _recorded(folder: Path, manifest: Manifest) -> list[Shard]:
    """Shards that an earlier run recorded; ValueError where it wrote something else."""
    path = next((folder / name for name in (JOURNAL, MANIFEST) if (folder / name).exists()), None)
    if path is None:
        if tar_files(folder):
            raise ValueError(
                f"{folder} holds shards without {MANIFEST}; choose another folder, or start over with --overwrite"
            )
        return []
    found = load_manifest(path)
    others = [f"{key} {found[key]}" for key in ("seed", "max_samples", "max_bytes") if found[key] != manifest[key]]
    if found["source"] != manifest["source"]:
        others.append("another source (other files, labels or classnames)")
    if others:
        raise ValueError(
            f"{folder} was begun with {', '.join(others)}; use the same again, or start over with --overwrite"
        )
    return found["shards"]


def _texts(root: Path, split: str, texts: dict[str, Sequence[str]]) -> dict[Path, str]:
    """Files that all splits share; ValueError where another split relies on something else."""
    files = {root / name: "".join(f"{line}\n" for line in lines) for name, lines in texts.items()}
    others = sorted(path.parent.name for path in root.glob("*/0.tar") if path.parent.name != split)
    others = [name for name in others if not hidden(name)]
    for path, text in files.items():
        if others and path.exists() and split_lines(read_text(path)) != split_lines(text):
            raise ValueError(f"{path} differs from that of split {split!r}, yet serves {', '.join(others)} too; "
                             "give all splits the same classnames and templates, or choose another folder")  # fmt: skip
    return files


def _begin(folder: Path, manifest: Manifest, shards: list[Shard], texts: dict[Path, str]) -> None:
    """Mark the split as unfinished, and then remove what isn't recorded and write what all splits share."""
    save_manifest(folder / JOURNAL, {**manifest, "shards": shards})
    for name in (NSHARDS, MANIFEST):
        (folder / name).unlink(missing_ok=True)
    remove_stale(folder)
    keep = {shard["file"] for shard in shards}
    for path in folder.iterdir():
        if re.fullmatch(r"\d+\.tar", path.name) and path.name not in keep and path.is_file():
            path.unlink()
    for path, text in texts.items():
        write_text(path, text)


def _end(folder: Path, manifest: Manifest) -> None:
    """Mark the split as complete."""
    write_text(folder / NSHARDS, f"{len(manifest['shards'])}\n")
    save_manifest(folder / MANIFEST, manifest)
    (folder / JOURNAL).unlink()
