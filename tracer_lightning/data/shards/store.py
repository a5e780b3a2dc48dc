"""Sets of shards below one address, and parsing of their locations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

from braceexpand import alphabet, braceexpand

from tracer_lightning.data.images.files import is_hidden
from tracer_lightning.data.images.names import parse_templates, parse_texts
from tracer_lightning.data.shards.class_groups import ClassGroups, parse_groups
from tracer_lightning.data.shards.manifest import MANIFEST, NSHARDS, load_manifest, tar_files
from tracer_lightning.data.shards.roots import LocalRoot, Root, open_root
from tracer_lightning.functional.wording import counted
from tracer_lightning.storage import TEXT_BYTES, check_relative, read_text, split_lines

ROLES = ("id", "ood", "other", "val")
OTHER = "other"
"""Role of sets with classes of their own."""
MAX_SHARDS = 1_000_000
"""Maximum number of shards in a split."""
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?")
"""Pattern of a numeric brace range: first, last and step."""
MAX_PATTERN_LENGTH = 1000


class Shard(NamedTuple):
    """Tar file of samples below a root."""

    root: Root
    name: str
    """Path below the root."""
    domain: int = 0
    """Index of the domain of its samples."""

    def __str__(self) -> str:
        return f"{self.root.address}/{self.name}"

    def fetch(self) -> Path:
        """Return the path of the local file; raise ValueError where it is missing."""
        with _missing_is_value_error():
            return self.root.fetch(self.name)

    def open(self) -> IO[bytes]:
        """Open the file; raise ValueError where it is missing."""
        with _missing_is_value_error():
            return self.root.open(self.name)


@contextmanager
def _missing_is_value_error() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{error}, although the number of shards includes it; fetch the set again") from error


class SplitLocation(NamedTuple):
    """Location of the samples of a split."""

    folder: str
    """Folder below the store's address, or a full address; in a local store, ``*`` matches several folders."""
    split: str | None = None
    """Name of the subfolder that contains ``<i>.tar`` and ``nshards.txt``."""
    shards: str | None = None
    """Names of the tar files, in place of a split, such as ``imagenet1k-train-{0000..1023}.tar``."""
    samples: int | None = None
    """Expected number of samples."""

    def __str__(self) -> str:
        return f"{self.folder}/{self.split or self.shards}"


class SuiteEntry(NamedTuple):
    """Set of a test suite."""

    location: SplitLocation
    role: str
    """``id``, ``ood``, ``other`` for a set with classes of its own, or ``val`` for an ID set that is monitored during
    training and not tested on."""
    classes: ClassGroups | None = None
    """Training classes that each label covers; None where the set has the training classes, or its own."""
    border: int = 0
    """Number of pixels to cut off each side of the images."""
    video: bool = False
    """Whether the set consists of frames in the layout of ImageNet-Vid-Robust, and not of shards."""
    classnames: tuple[str, ...] | None = None
    """Class names of a set of role ``other``; None for those in its folder."""
    templates: tuple[str, ...] | None = None
    """Templates of a set of role ``other``; None for those in its folder."""


def parse_suite_entry(name: str, entry: Mapping[str, Any]) -> SuiteEntry:
    """Parse a set of a suite; raise ValueError where a field is unknown, missing or invalid."""
    unknown = set(entry) - ({*SplitLocation._fields, *SuiteEntry._fields} - {"location"})
    if unknown or "folder" not in entry or "role" not in entry:
        raise ValueError(
            f"suite.{name} must have folder, role, and split or shards, and may have samples, classes, border, video "
            f"and, with role other, classnames and templates; got {', '.join(entry)}"
        )
    if entry["role"] not in ROLES:
        raise ValueError(f"suite.{name}.role must be one of {', '.join(ROLES)}, got {entry['role']!r}")
    _check_role(name, entry)
    border, classes = entry.get("border", 0), entry.get("classes")
    if not isinstance(border, int) or border < 0:
        raise ValueError(f"suite.{name}.border must be a number of pixels >= 0, got {border!r}")
    video = entry.get("video", False)
    if not isinstance(video, bool) or (video and (classes is not None or entry.get("split") != "val")):
        raise ValueError(
            f"suite.{name}.video must be a bool, and True only for split 'val' without classes; got {video!r}"
        )
    return SuiteEntry(
        parse_location(f"suite.{name}", entry),
        entry["role"],
        parse_groups(f"suite.{name}.classes", classes),
        border,
        video,
        parse_texts(f"suite.{name}.classnames", entry.get("classnames")),
        parse_templates(f"suite.{name}.templates", entry.get("templates")),
    )


def _check_role(name: str, entry: Mapping[str, Any]) -> None:
    """Raise ValueError for a field that makes no sense with the set's role."""
    if entry["role"] == OTHER:
        for field in ("classes", "video"):
            if entry.get(field):
                raise ValueError(
                    f"suite.{name}.{field} must not be set with role other, which means classes of the set's own; "
                    "remove it, or choose role ood"
                )
        return
    for field in ("classnames", "templates"):
        if entry.get(field) is not None:
            raise ValueError(
                f"suite.{name}.{field} must not be set with role {entry['role']}, which means the training classes; "
                "remove it, or choose role other"
            )


def parse_location(key: str, entry: Mapping[str, Any]) -> SplitLocation:
    """Parse the location of a split; raise ValueError where a field is missing or invalid."""
    location = SplitLocation(**{name: entry[name] for name in SplitLocation._fields if name in entry})
    if (location.split is None) == (location.shards is None):
        raise ValueError(f"{key} needs either split or shards, got split={location.split}, shards={location.shards}")
    for value in (location.split, location.shards):
        if not isinstance(value, str | None):
            raise ValueError(f"{key}: {value} must be a relative path within its folder")
    try:
        for name in [location.split] if location.split is not None else expand_pattern(str(location.shards)):
            check_relative(name)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    if location.samples is not None and (not isinstance(location.samples, int) or location.samples < 1):
        raise ValueError(f"{key}.samples must be >= 1 or None, got {location.samples!r}")
    return location


def expand_pattern(pattern: str) -> list[str]:
    """Expand the braces of a pattern to names; raise ValueError, before expanding, where there may be too many."""
    lengths = [abs(int(last) - int(first)) // (int(step or 1) or 1) + 1 for first, last, step in RANGE.findall(pattern)]
    letters = [len(alphabet) for _ in re.findall(r"[A-Za-z]\.\.[A-Za-z]", pattern)]
    choices = [1 + part.count(",") for part in pattern.split("{")]
    upper_bound = prod([*lengths, *letters, *choices])
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise ValueError(f"{pattern[:100]!r}...: the pattern is longer than {MAX_PATTERN_LENGTH:,} characters")
    if upper_bound > MAX_SHARDS:
        raise ValueError(f"{pattern[:100]!r} may expand to {upper_bound:,} shards, more than {MAX_SHARDS:,}")
    try:
        return list(braceexpand(pattern))
    except RecursionError as error:
        raise ValueError(f"{pattern[:100]!r} is nested too deeply") from error


def check_samples(key: str, location: object, actual: int, expected: int | None) -> None:
    """Raise ValueError where the number of samples differs from the expected one, unless this is None."""
    if expected is not None and actual != expected:
        raise ValueError(
            f"{key}: {location} contains {counted(actual, 'sample')}, but {expected:,} are expected; fetch it "
            f"again, or set {key}.samples to None if it is a subset"
        )


class ShardStore:
    """Folders of shards below an address.

    Args:
        address: folder, ``http(s)://`` address or ``hf://datasets/OWNER``.
        cache_dir: local folder for downloads.
    """

    def __init__(self, address: str, cache_dir: Path) -> None:
        self.address, self.cache_dir = address.rstrip("/"), cache_dir
        self._roots: dict[str, Root] = {}

    def root(self, folder: str) -> Root:
        """Return the root at a full address, or at a folder below the store's address."""
        if folder not in self._roots:
            is_address = "://" in folder or folder.startswith(("/", "~"))
            subfolder = "" if is_address or folder == "." else check_relative(folder.rstrip("/"))
            address = folder if is_address else f"{self.address}/{subfolder}".rstrip("/")
            try:
                self._roots[folder] = open_root(address, self.cache_dir / "downloads")
            except NotADirectoryError as error:
                if is_address or folder == "." or not Path(self.address).expanduser().is_dir():
                    raise ValueError(f"{'' if is_address else 'root='}{error}") from error
                raise ValueError(f"root={self.address} contains no folder {folder}") from error
        return self._roots[folder]

    def matches(self, folder: str) -> dict[str, str]:
        """Return folders that match a pattern, by the part that ``*`` matches; raise ValueError if there is none."""
        if "://" in f"{self.address}{folder}" or folder.count("*") != 1 or "/" in folder:
            raise ValueError(
                f"folder {folder!r}: * is allowed once, in a folder directly below a local root; list the sets by name"
            )
        root = self.root(".")
        assert isinstance(root, LocalRoot)
        prefix, _, suffix = folder.partition("*")
        pattern = re.compile(f"{re.escape(prefix)}(.+){re.escape(suffix)}")
        names = sorted(path.name for path in root.folder.iterdir() if path.is_dir() and not is_hidden(path.name))
        folders = {match[1]: name for name in names if (match := pattern.fullmatch(name))}
        if not folders:
            raise ValueError(f"root={self.address} contains no folder {folder}")
        return folders

    def lines(self, folder: str, name: str) -> list[str]:
        """Read the lines of a text file; raise FileNotFoundError where it does not exist."""
        return split_lines(read_text(self.root(folder).fetch(name, TEXT_BYTES)))

    def shards(self, location: SplitLocation, domain: int = 0) -> list[Shard]:
        """List the shards of a split; raise ValueError where their number is unknown or wrong."""
        root = self.root(location.folder)
        if location.shards is not None:
            return [Shard(root, name, domain) for name in expand_pattern(location.shards)]
        try:
            count = int(read_text(root.fetch(f"{location.split}/{NSHARDS}", TEXT_BYTES)))
        except FileNotFoundError as error:
            raise ValueError(
                f"{error}: there is no split {location.split} of shards; write it with make_shards"
            ) from error
        except ValueError as error:
            raise ValueError(f"{location}/{NSHARDS} must contain the number of shards: {error}") from error
        tar_count = len(tar_files(root.folder / str(location.split))) if isinstance(root, LocalRoot) else count
        if not 1 <= count <= MAX_SHARDS or tar_count > count:
            raise ValueError(f"{location}/{NSHARDS} says {counted(count, 'shard')}, but there are {tar_count}")
        return [Shard(root, f"{location.split}/{number}.tar", domain) for number in range(count)]

    def expected_samples(self, key: str, location: SplitLocation) -> int | None:
        """Return the number of samples in the split's manifest or, without one, in its location; None for unknown."""
        try:
            manifest = load_manifest(self.root(location.folder).fetch(f"{location.split}/{MANIFEST}", TEXT_BYTES))
        except (FileNotFoundError, ValueError):  # missing, written by another program, or unreachable
            return location.samples
        check_samples(key, location, manifest["samples"], location.samples)
        return manifest["samples"]
