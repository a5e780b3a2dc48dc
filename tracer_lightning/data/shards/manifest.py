"""What is recorded of a split of shards, and whether the shards are what was recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from tracer_lightning.data.images.decoding import UnreadableImageError, decode
from tracer_lightning.data.images.files import hidden
from tracer_lightning.data.images.names import check_templates
from tracer_lightning.data.shards.samples import CAPTION, LABEL, neighbours
from tracer_lightning.data.shards.tar import TarBytes
from tracer_lightning.storage import read_text, split_lines, write_text

FORMAT = 1
CLASSNAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"
MANIFEST, JOURNAL, NSHARDS = "manifest.json", "journal.json", "nshards.txt"


class Shard(TypedDict):
    """What is recorded of one tar file."""

    file: str
    samples: int
    bytes: int
    sha256: str


class Manifest(TypedDict):
    """What is recorded of a split; ``class_counts`` has one number per class, ``source`` is a hash of the samples."""

    format: int
    split: str
    samples: int
    num_classes: int
    class_counts: list[int]
    seed: int
    max_samples: int
    max_bytes: int
    source: str
    shards: list[Shard]


def sample_key(number: int) -> str:
    """What the names of a sample's members begin with, by its position in the split."""
    return f"s{number:07d}"


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tar_files(folder: Path) -> list[Path]:
    """The shards in a folder, without hidden files."""
    return [path for path in folder.glob("*.tar") if not hidden(path.name)]


def load_manifest(path: Path) -> Manifest:
    """Read a manifest or journal; ValueError where it isn't one of this format."""
    try:
        found = json.loads(read_text(path))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; write the shards (again) with scripts/make_shards.py") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} can't be read ({error}); start over with --overwrite") from None
    try:
        check_type(found, Manifest, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        files = [shard["file"] for shard in found["shards"]]
        known = found["format"] == FORMAT and files == [f"{number}.tar" for number in range(len(files))]
    except TypeCheckError:
        known = False
    if not known:
        raise ValueError(f"{path} isn't a manifest of format {FORMAT}; start over with --overwrite")
    return cast(Manifest, found)


def save_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest or journal; equal ones give equal bytes."""
    write_text(path, json.dumps(manifest, indent=1) + "\n")


def shard_fault(folder: Path, shard: Shard) -> str | None:
    """How a tar file differs from its record, or None."""
    path = folder / shard["file"]
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    if size != shard["bytes"]:
        return f"{path} has {size} bytes and {MANIFEST} says {shard['bytes']}"
    if file_hash(path) != shard["sha256"]:
        return f"{path} has another sha256 than {MANIFEST} says; its contents have changed"
    return None


def verify_shards(root: Path, split: str) -> Manifest:
    """Read a split again and compare it with its manifest, sample by sample.

    Args:
        root: folder of the data set.
        split: name of the folder within.

    Returns:
        The manifest, which the split agrees with.

    Raises:
        ValueError: names the file and what is wrong with it.
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


def _expect(path: Path, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ValueError(f"{path}: {what} should be {expected}, found {found}; write the shards again")


def _read(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path} is missing; write the shards again")
    return read_text(path)


def _verify_texts(root: Path, manifest: Manifest) -> None:
    names = split_lines(_read(root / CLASSNAMES))
    _expect(root / CLASSNAMES, "number of names", len(names), manifest["num_classes"])
    check_templates(split_lines(_read(root / TEMPLATES)), root / TEMPLATES)


def _read_labels(path: Path, start: int, num_classes: int) -> Iterator[int | None]:
    """The label of each sample, None for those with a caption only; their keys must count on from ``start``."""
    with path.open("rb") as stream:
        file = TarBytes(stream, path)
        for number, (key, contents) in enumerate(neighbours(file, lambda member, _: file.read(member.size)), start):
            _expect(path, "name of a sample", key, sample_key(number))
            yield _check_sample(f"{path}: sample {key}", contents, num_classes)


def _check_sample(name: str, contents: dict[str, bytes], num_classes: int) -> int | None:
    images = contents.keys() - {LABEL, CAPTION}
    if len(images) != 1 or not contents[min(images)]:
        raise ValueError(f"{name} should have one image, found {sorted(contents)}")
    try:
        decode(contents[min(images)])
    except UnreadableImageError as error:
        raise ValueError(f"{name} has an image that can't be read: {error}; mend or remove it") from error
    if not contents.get(LABEL) and not contents.get(CAPTION):
        raise ValueError(f"{name} has neither .{LABEL} nor .{CAPTION}")
    if LABEL not in contents:
        return None
    text = contents[LABEL].decode(errors="replace")
    if not text.isdecimal() or int(text) >= num_classes:
        raise ValueError(f"{name} has label {text!r}, but there are {num_classes} classes")
    return int(text)
