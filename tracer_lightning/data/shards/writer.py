"""Writing shards in the format of the clip-benchmark datasets.

All splits share ``ROOT/classnames.txt`` and ``ROOT/zeroshot_classification_templates.txt``. ``ROOT/<split>`` contains
``0.tar``, ``1.tar``, ... with members ``s0000000.jpg`` (the unchanged image), ``.cls`` (class index) and ``.txt``
(caption), as well as ``nshards.txt`` and ``manifest.json``. Equal sources and settings give equal bytes, also after an
interruption: until a split is complete, ``journal.json`` replaces the manifest and lists the shards written so far.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tracer_lightning.data.images.files import is_hidden
from tracer_lightning.data.images.names import PLACEHOLDER, normalize_name, warn_indistinguishable
from tracer_lightning.data.shards.manifest import (
    CLASSNAMES,
    FORMAT,
    JOURNAL,
    MANIFEST,
    NSHARDS,
    TEMPLATES,
    TRAIN_CLASSNAMES,
    Manifest,
    ShardRecord,
    load_manifest,
    save_manifest,
    shard_fault,
    tar_files,
)
from tracer_lightning.data.shards.packing import SourceSample, write_shard
from tracer_lightning.storage import file_lock, read_text, remove_stale, split_lines, write_text
from tracer_lightning.storage.shard_layout import ShardLayout


class SampleCollection(NamedTuple):
    """Samples of a split and their class names."""

    samples: Sequence[SourceSample]
    classnames: Sequence[str]
    """Class names; empty for pairs of images and captions."""
    train_classnames: Sequence[str] = ()
    """Names of the classes in captions, several of one class separated by ``|``; empty for ``classnames``."""


def write_shards(
    collection: SampleCollection,
    root: Path,
    split: str,
    templates: Sequence[str],
    layout: ShardLayout,
    overwrite: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Write a split, or complete one that an interrupted run with the same arguments has begun.

    Args:
        collection: samples, at least one, and their classes.
        root: folder of the dataset; its other splits must have the same classes and templates.
        split: name of the split's folder in ``root``.
        templates: templates for zero-shot classification, each with the placeholder ``{c}``.
        layout: order and limits.
        overwrite: whether to start over where the split was written from another source or with another layout.
        on_progress: function that is called after each shard with the number of samples written so far.

    Returns:
        The content of ``manifest.json``.

    Raises:
        ValueError: samples or texts are invalid, or the folder contains another split.
    """
    manifest = _plan(collection, split, templates, layout)
    folder = root / split
    texts = _shared_texts(
        root,
        split,
        {
            CLASSNAMES: collection.classnames,
            TEMPLATES: templates,
            **({TRAIN_CLASSNAMES: collection.train_classnames} if collection.train_classnames else {}),
        },
    )
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder):
        shards = [] if overwrite else _recorded_shards(folder, manifest)
        _begin(folder, manifest, shards, texts)
        samples = list(collection.samples)
        random.Random(layout.seed).shuffle(samples)
        for written in _write_missing(folder, manifest, shards, samples):
            if on_progress:
                on_progress(written)
        _end(folder, manifest)
    return manifest


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Lock the folder; raise ValueError where another process is writing to it."""
    try:
        with file_lock(folder):
            yield
    except BlockingIOError:
        raise ValueError(
            f"{folder}: another process is writing to this folder; wait for it, or choose another folder"
        ) from None


def _write_missing(
    folder: Path, manifest: Manifest, recorded: list[ShardRecord], samples: Sequence[SourceSample]
) -> Iterator[int]:
    """Write all shards but the intact recorded ones, add all to the manifest, and yield the samples written so far."""
    written = 0
    while written < len(samples):
        index = len(manifest["shards"])
        if index < len(recorded) and shard_fault(folder, recorded[index]) is None:
            shard = recorded[index]
        else:
            shard = write_shard(folder / f"{index}.tar", samples, written, manifest)
            # The shards after a rewritten one remain valid only if they still begin at the same sample.
            same = index < len(recorded) and recorded[index]["samples"] == shard["samples"]
            recorded = [*recorded[:index], shard, *(recorded[index + 1 :] if same else ())]
            save_manifest(folder / JOURNAL, {**manifest, "shards": recorded})
        manifest["shards"].append(shard)
        written += shard["samples"]
        yield written


def _plan(collection: SampleCollection, split: str, templates: Sequence[str], layout: ShardLayout) -> Manifest:
    """Return the manifest without shards; raise ValueError for samples or texts that can't be written."""
    samples, names, _ = collection
    if not re.fullmatch(r"\w[\w.-]*", split):
        raise ValueError(f"split must be a folder name of letters, digits and . _ -, got {split!r}")
    if not samples:
        raise ValueError(f"split {split!r} has no samples; check the source")
    for number, name in enumerate(names):
        if not name.strip() or name.splitlines() != [name]:
            raise ValueError(f"classnames: class {number} is called {name!r}; every name must be one line of text")
    warn_indistinguishable(names, [normalize_name(name) for name in names])
    for template in templates:
        if PLACEHOLDER not in template or template.splitlines() != [template]:
            raise ValueError(f"templates: {template!r} must be one line with the placeholder {PLACEHOLDER}")
    counts = [0] * len(names)
    source = hashlib.sha256(json.dumps(list(names)).encode())
    for sample in samples:
        if sample.label is None and not sample.caption:
            raise ValueError(f"{sample.origin} has neither label nor caption; add one of them")
        if sample.label is not None:
            if not 0 <= sample.label < len(names):
                raise ValueError(f"{sample.origin} has label {sample.label}, but there are {len(names)} classnames")
            counts[sample.label] += 1
        fields = [sample.origin, sample.size, sample.suffix, sample.label, sample.caption]
        source.update(json.dumps(fields).encode())
    return {
        "format": FORMAT, "split": split, "samples": len(samples), "num_classes": len(names), "class_counts": counts,
        "seed": layout.seed, "max_samples": layout.max_samples, "max_bytes": layout.max_bytes,
        "source": source.hexdigest(), "shards": [],
    }  # fmt: skip


def _recorded_shards(folder: Path, manifest: Manifest) -> list[ShardRecord]:
    """Return the shards that an earlier run recorded; raise ValueError where it wrote another split."""
    path = next((folder / name for name in (JOURNAL, MANIFEST) if (folder / name).exists()), None)
    if path is None:
        if tar_files(folder):
            raise ValueError(
                f"{folder} contains shards without {MANIFEST}; choose another folder, or start over with overwrite=True"
            )
        return []
    recorded = load_manifest(path)
    differences = [
        f"{key} {recorded[key]}" for key in ("seed", "max_samples", "max_bytes") if recorded[key] != manifest[key]
    ]
    if recorded["source"] != manifest["source"]:
        differences.append("another source (other files, labels or classnames)")
    if differences:
        raise ValueError(
            f"{folder} was begun with {', '.join(differences)}; use the same again, or start over with overwrite=True"
        )
    return recorded["shards"]


def _shared_texts(root: Path, split: str, texts: dict[str, Sequence[str]]) -> dict[Path, str]:
    """Return the content of the files shared by all splits; raise ValueError where other splits need other content."""
    files = {root / name: "".join(f"{line}\n" for line in lines) for name, lines in texts.items()}
    other_splits = sorted(path.parent.name for path in root.glob("*/0.tar") if path.parent.name != split)
    other_splits = [name for name in other_splits if not is_hidden(name)]
    for path, text in files.items():
        if other_splits and path.exists() and split_lines(read_text(path)) != split_lines(text):
            raise ValueError(
                f"{path} differs from that of split {split!r}, but {', '.join(other_splits)} use it, too; use the same "
                "classnames and templates for all splits, or choose another folder"
            )
    return files


def _begin(folder: Path, manifest: Manifest, shards: list[ShardRecord], texts: dict[Path, str]) -> None:
    """Mark the split as incomplete; then remove unrecorded files and write the files shared by all splits."""
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
