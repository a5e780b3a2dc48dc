"""Sets of shards below one address: their folders, their texts, their tar files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

from braceexpand import alphabet, braceexpand

from tracer_lightning.data.images.files import hidden
from tracer_lightning.data.images.imagenet import Classes
from tracer_lightning.data.shards.manifest import MANIFEST, NSHARDS, load_manifest, tar_files
from tracer_lightning.data.shards.roots import LocalRoot, Root, open_root
from tracer_lightning.storage import TEXT_BYTES, check_relative, read_text, split_lines

ROLES = ("id", "ood", "val")
MOST_SHARDS = 1_000_000
"""Of a split."""
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?")
"""First, last and step of what stands in braces for all numbers between."""
LONGEST_PATTERN = 1000


class Shard(NamedTuple):
    """One tar file."""

    root: Root
    name: str
    """Below the root."""
    domain: int = 0

    def __str__(self) -> str:
        return f"{self.root.address}/{self.name}"

    def fetch(self) -> Path:
        """The file on this machine; ValueError where it is missing."""
        with _present():
            return self.root.fetch(self.name)

    def open(self) -> IO[bytes]:
        """Its bytes from the beginning; ValueError where it is missing."""
        with _present():
            return self.root.open(self.name)


@contextmanager
def _present() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{error}, which the number of shards asks for; fetch the set again") from error


class Place(NamedTuple):
    """Where the samples of one split lie."""

    folder: str
    """Below the store's address, or an address of its own. In a local store ``*`` stands for every folder that fits."""
    split: str | None = None
    """Folder of ``<i>.tar`` and ``nshards.txt`` within."""
    shards: str | None = None
    """Instead of a split: names of the tar files, such as ``imagenet1k-train-{0000..1023}.tar``."""
    samples: int | None = None
    """How many there must be."""

    def __str__(self) -> str:
        return f"{self.folder}/{self.split or self.shards}"


class Member(NamedTuple):
    """One set of a suite."""

    place: Place
    role: str
    """``id``, ``ood``, or ``val``: ID, watched during training instead of a test set."""
    classes: Classes | None = None
    """For each of its labels the training classes that it covers; None where its classes are those of training."""
    border: int = 0
    """Pixels to cut off each side of its images."""
    video: bool = False
    """Whether it is no set of shards, but frames in the layout of ImageNet-Vid-Robust."""


def member(name: str, entry: Mapping[str, Any]) -> Member:
    """A set of the suite from its configuration; ValueError names what is wrong with it."""
    unknown = set(entry) - {*Place._fields, *Member._fields} - {"place"}
    if unknown or "folder" not in entry or "role" not in entry:
        raise ValueError(
            f"suite.{name} must have folder, role, split or shards, and may have samples, classes, border and video; "
            f"found {', '.join(entry)}"
        )
    if entry["role"] not in ROLES:
        raise ValueError(f"suite.{name}.role must be one of {', '.join(ROLES)}, found {entry['role']!r}")
    border, classes = entry.get("border", 0), entry.get("classes")
    if not isinstance(border, int) or border < 0:
        raise ValueError(f"suite.{name}.border must be a whole number of pixels >= 0, found {border!r}")
    video = entry.get("video", False)
    if not isinstance(video, bool) or (video and (classes is not None or entry.get("split") != "val")):
        raise ValueError(f"suite.{name}.video must be true, with split=val and no classes, or false; found {video!r}")
    groups = _groups(f"suite.{name}.classes", classes)
    return Member(place(f"suite.{name}", entry), entry["role"], groups, border, video)


def _groups(key: str, classes: Any) -> Classes | None:
    if classes is None:
        return None
    groups = tuple(tuple(group) if isinstance(group, list | tuple) else () for group in classes)
    if not groups or not all(groups) or not all(isinstance(i, int) and i >= 0 for group in groups for i in group):
        raise ValueError(f"{key} must give a list of class indices for each label, such as [[3], [7, 8]]")
    return groups


def place(key: str, entry: Mapping[str, Any]) -> Place:
    """The place of a split from its configuration; ValueError names what is wrong with it."""
    found = Place(**{name: entry[name] for name in Place._fields if name in entry})
    if (found.split is None) == (found.shards is None):
        raise ValueError(f"{key} needs either split or shards, found split={found.split}, shards={found.shards}")
    for value in (found.split, found.shards):
        if not isinstance(value, str | None):
            raise ValueError(f"{key}: {value} must be a relative path within its folder")
    try:
        for name in [found.split] if found.split is not None else expanded(str(found.shards)):
            check_relative(name)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    if found.samples is not None and (not isinstance(found.samples, int) or found.samples < 1):
        raise ValueError(f"{key}.samples must be a whole number >= 1 or null, found {found.samples!r}")
    return found


def expanded(pattern: str) -> list[str]:
    """The names that a pattern with braces stands for; ValueError, before there are any, where they are too many."""
    lengths = [abs(int(last) - int(first)) // (int(step or 1) or 1) + 1 for first, last, step in RANGE.findall(pattern)]
    letters = [len(alphabet) for _ in re.findall(r"[A-Za-z]\.\.[A-Za-z]", pattern)]
    choices = [1 + part.count(",") for part in pattern.split("{")]
    most = prod([*lengths, *letters, *choices])
    if most > MOST_SHARDS or len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"{pattern[:100]!r} may stand for {most:,} shards; at most {MOST_SHARDS:,} may be")
    try:
        return list(braceexpand(pattern))
    except RecursionError as error:
        raise ValueError(f"{pattern[:100]!r} is nested too deeply") from error


def check_samples(key: str, where: object, found: int, expected: int | None) -> None:
    """ValueError where there are not as many samples as expected; None expects nothing."""
    if expected is not None and found != expected:
        raise ValueError(
            f"{key}: {where} holds {found:,} samples, and {expected:,} are expected; fetch it again, or set "
            f"{key}.samples=null if it is to be a part"
        )


class Store:
    """Folders of shards below an address.

    Args:
        address: folder, ``http(s)://`` address or ``hf://datasets/OWNER``.
        cache_dir: on this machine, for downloads.
    """

    def __init__(self, address: str, cache_dir: Path) -> None:
        self.address, self.cache_dir = address.rstrip("/"), cache_dir
        self._roots: dict[str, Root] = {}

    def root(self, folder: str) -> Root:
        """What an address of its own, or a folder below the store's, names."""
        if folder not in self._roots:
            alone = "://" in folder or folder.startswith(("/", "~"))
            inside = "" if alone or folder == "." else check_relative(folder.rstrip("/"))
            whole = folder if alone else f"{self.address}/{inside}".rstrip("/")
            try:
                self._roots[folder] = open_root(whole, self.cache_dir / "downloads")
            except NotADirectoryError as error:
                if alone or folder == "." or not Path(self.address).expanduser().is_dir():
                    raise ValueError(f"{'' if alone else 'data.root='}{error}") from error
                raise ValueError(f"data.root={self.address} holds no folder {folder}") from error
        return self._roots[folder]

    def matches(self, folder: str) -> dict[str, str]:
        """Folders that a pattern with ``*`` fits, by what the star stands for; ValueError where there is none."""
        if "://" in f"{self.address}{folder}" or folder.count("*") != 1 or "/" in folder:
            raise ValueError(f"{folder}: one * may stand for folders of a data.root on this machine; name the sets")
        base = self.root(".")
        assert isinstance(base, LocalRoot)
        before, _, after = folder.partition("*")
        pattern = re.compile(f"{re.escape(before)}(.+){re.escape(after)}")
        names = sorted(path.name for path in base.folder.iterdir() if path.is_dir() and not hidden(path.name))
        found = {match[1]: name for name in names if (match := pattern.fullmatch(name))}
        if not found:
            raise ValueError(f"data.root={self.address} holds no folder {folder}")
        return found

    def lines(self, folder: str, name: str) -> list[str]:
        """The lines of a text file; FileNotFoundError where there is none."""
        return split_lines(read_text(self.root(folder).fetch(name, TEXT_BYTES)))

    def shards(self, place: Place, domain: int = 0) -> list[Shard]:
        """The tar files of a split; ValueError where it can't be told which they are."""
        root = self.root(place.folder)
        if place.shards is not None:
            return [Shard(root, name, domain) for name in expanded(place.shards)]
        try:
            count = int(read_text(root.fetch(f"{place.split}/{NSHARDS}", TEXT_BYTES)))
        except FileNotFoundError as error:
            raise ValueError(
                f"{error}: no split {place.split} of shards there; make one with scripts/make_shards.py"
            ) from error
        except ValueError as error:
            raise ValueError(f"{place}/{NSHARDS} must hold the number of shards: {error}") from error
        there = len(tar_files(root.folder / str(place.split))) if isinstance(root, LocalRoot) else count
        if not 1 <= count <= MOST_SHARDS or there > count:
            raise ValueError(f"{place}/{NSHARDS} says {count} shards, and there are {there}")
        return [Shard(root, f"{place.split}/{number}.tar", domain) for number in range(count)]

    def expected_samples(self, key: str, place: Place) -> int | None:
        """How many samples there must be, as configured or as the manifest of the split says; None: not known."""
        try:
            manifest = load_manifest(self.root(place.folder).fetch(f"{place.split}/{MANIFEST}", TEXT_BYTES))
        except (FileNotFoundError, ValueError):  # none, or another program's, or out of reach
            return place.samples
        check_samples(key, place, manifest["samples"], place.samples)
        return manifest["samples"]
