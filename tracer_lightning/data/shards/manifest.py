"""Manifests of splits of shards, and verification of shards against them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from tracer_lightning.data.images.decoding import UnreadableImageError, decode
from tracer_lightning.data.images.files import is_hidden
from tracer_lightning.data.images.names import check_templates
from tracer_lightning.data.shards.samples import CAPTION, LABEL, stream_samples
from tracer_lightning.data.shards.tar import TarBytes
from tracer_lightning.storage import read_text, split_lines, write_text

FORMAT = 1
CLASSNAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"
TRAIN_CLASSNAMES = "train_classnames.txt"
"""Names of classes in captions, where a class has several (``tabby|cat``). It is no part of clip-benchmark's format."""
MANIFEST, JOURNAL, NSHARDS = "manifest.json", "journal.json", "nshards.txt"


class ShardRecord(TypedDict):
    """Entry of a manifest for one tar file."""

    file: str
    samples: int
    bytes: int
    sha256: str


class Manifest(TypedDict):
    """Manifest of a split; ``class_counts`` has one number per class, ``source`` is a hash of the samples."""

    format: int
    split: str
    samples: int
    num_classes: int
    class_counts: list[int]
    seed: int
    max_samples: int
    max_bytes: int
    source: str
    shards: list[ShardRecord]


def sample_key(number: int) -> str:
    """Return the common prefix of the names of a sample's members, by its position in the split."""
    return f"s{number:07d}"


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tar_files(folder: Path) -> list[Path]:
    """List the shards in a folder, without hidden files."""
    return [path for path in folder.glob("*.tar") if not is_hidden(path.name)]


def load_manifest(path: Path) -> Manifest:
    """Read a manifest or journal; raise ValueError where it has another format."""
    try:
        content = json.loads(read_text(path))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; write the shards (again) with make_shards") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} can't be read ({error}); write the shards again with overwrite=True") from None
    try:
        check_type(content, Manifest, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        files = [shard["file"] for shard in content["shards"]]
        valid = content["format"] == FORMAT and files == [f"{number}.tar" for number in range(len(files))]
    except TypeCheckError:
        valid = False
    if not valid:
        raise ValueError(f"{path} isn't a manifest of format {FORMAT}; write the shards again with overwrite=True")
    return cast(Manifest, content)


def save_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest or journal; equal manifests have equal bytes."""
    write_text(path, json.dumps(manifest, indent=1) + "\n")


def shard_fault(folder: Path, shard: ShardRecord) -> str | None:
    """Describe how a tar file differs from its record; None where it does not."""
    path = folder / shard["file"]
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    if size != shard["bytes"]:
        return f"{path} has {size} bytes, but {MANIFEST} says {shard['bytes']}"
    if file_hash(path) != shard["sha256"]:
        return f"{path} does not have the sha256 in {MANIFEST}; its contents have changed"
    return None


def verify_shards(root: Path, split: str) -> Manifest:
    """Read a split and compare it with its manifest, sample by sample.

    Args:
        root: folder of the dataset.
        split: name of the split's folder in ``root``.

    Returns:
        The manifest.

    Raises:
        ValueError: a file differs from the manifest.
    """
    folder = root / split
    manifest = load_manifest(folder / MANIFEST)
    _verify_texts(root, manifest)
    files = [shard["file"] for shard in manifest["shards"]]
    _expect(folder / MANIFEST, "split", manifest["split"], split)
    _expect(folder / MANIFEST, "shard files", files, [f"{index}.tar" for index in range(len(files))])
    _expect(folder / NSHARDS, "contents", _read(folder / NSHARDS).strip(), str(len(files)))
    _expect(folder, "tar files", len(tar_files(folder)), len(files))
    samples, counts = 0, [0] * manifest["num_classes"]
    for shard in manifest["shards"]:
        if fault := shard_fault(folder, shard):
            raise ValueError(f"{fault}; write the shards again")
        before = samples
        for label in _read_labels(folder / shard["file"], samples, len(counts)):
            samples += 1
            if label is not None:
                counts[label] += 1
        _expect(folder / shard["file"], "number of samples", samples - before, shard["samples"])
    _expect(folder / MANIFEST, "samples", manifest["samples"], samples)
    _expect(folder / MANIFEST, "class_counts", manifest["class_counts"], counts)
    return manifest


def _expect(path: Path, name: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise ValueError(f"{path}: {name} should be {expected}, found {actual}; write the shards again")


def _read(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path} is missing; write the shards again")
    return read_text(path)


def _verify_texts(root: Path, manifest: Manifest) -> None:
    names = split_lines(_read(root / CLASSNAMES))
    _expect(root / CLASSNAMES, "number of names", len(names), manifest["num_classes"])
    check_templates(split_lines(_read(root / TEMPLATES)), root / TEMPLATES)


def _read_labels(path: Path, start: int, num_classes: int) -> Iterator[int | None]:
    """Yield the label of each sample, None for those with only a caption; their keys must count up from ``start``."""
    with path.open("rb") as stream:
        file = TarBytes(stream, path)
        for number, (key, contents) in enumerate(stream_samples(file, lambda member, _: file.read(member.size)), start):
            _expect(path, "name of a sample", key, sample_key(number))
            yield _check_sample(f"{path}: sample {key}", contents, num_classes)


def _check_sample(name: str, contents: dict[str, bytes], num_classes: int) -> int | None:
    images = contents.keys() - {LABEL, CAPTION}
    if len(images) != 1 or not contents[min(images)]:
        raise ValueError(f"{name} should have one image, found {sorted(contents)}")
    try:
        decode(contents[min(images)])
    except UnreadableImageError as error:
        raise ValueError(f"{name} has an image that can't be read: {error}; repair or remove it") from error
    if not contents.get(LABEL) and not contents.get(CAPTION):
        raise ValueError(f"{name} has neither .{LABEL} nor .{CAPTION}")
    if LABEL not in contents:
        return None
    text = contents[LABEL].decode(errors="replace")
    if not text.isdecimal() or int(text) >= num_classes:
        raise ValueError(f"{name} has label {text!r}, but there are {num_classes} classes")
    return int(text)
