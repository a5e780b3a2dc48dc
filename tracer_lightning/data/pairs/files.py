"""Opening pairs of any format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tracer_lightning.data.core.tables import SUFFIXES
from tracer_lightning.data.pairs.columns import Columns
from tracer_lightning.data.pairs.problems import WITHOUT_CAPTION, Problems
from tracer_lightning.data.pairs.rows import read_rows
from tracer_lightning.data.pairs.saved_datasets import PARQUET, is_saved, open_saved, parquet_files
from tracer_lightning.data.pairs.sources import PairSource, PairSubset, collect_files
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.manifest import NSHARDS
from tracer_lightning.data.shards.samples import REASONS
from tracer_lightning.data.shards.source import IndexedSource
from tracer_lightning.data.shards.store import Shard, ShardStore, SplitLocation

TAR = ".tar"
LOCATION = ("file", "folder")
"""Keys that locate the pairs of a set."""


class PairLocation(NamedTuple):
    """Location of the pairs of a set."""

    file: str
    """Table, file of captions, parquet files (one, a folder, or a pattern such as ``train-*.parquet``), saved data set,
    shards (``{00000..00099}.tar``), or folder of shards."""
    folder: str | None = None
    """Folder that paths of images are relative to; None for that of the file."""

    @property
    def stem(self) -> str:
        """Short name of the set."""
        return re.split(r"[{*]", Path(self.file).stem)[0].strip("-_") or Path(self.file).parent.name or "pairs"


def parse_location(key: str, value: Any, further_keys: tuple[str, ...] = ()) -> PairLocation:
    """Parse a location, a path or a mapping with ``file`` and perhaps ``folder``; raise ValueError for any other value.

    Args:
        key: name of the argument, for messages.
        value: the argument.
        further_keys: keys that the mapping may have in addition.
    """
    fields = value if isinstance(value, Mapping) else {"file": value}
    keys = (*LOCATION, *further_keys)
    if unknown := sorted(set(fields) - set(keys)):
        raise ValueError(f"{key} must have keys among {', '.join(keys)}; got {', '.join(unknown)}")
    if not isinstance(fields.get("file"), str) or not fields["file"]:
        raise ValueError(f"{key} must name a file of pairs of images and captions, got {fields.get('file')!r}")
    return PairLocation(fields["file"], fields.get("folder"))


class PairFiles:
    """Pairs below one root.

    Args:
        root: folder, or address of shards, that locations are relative to.
        columns: names of the columns of tables.
        cache: folder for indices and downloads.
        max_bad_fraction: maximum fraction of rows that may be left out.
    """

    def __init__(self, root: str, columns: Columns, cache: Path, max_bad_fraction: float) -> None:
        self.root, self.columns, self.cache, self.max_bad_fraction = root, columns, cache, max_bad_fraction
        self.store = ShardStore(root, cache)

    def open(self, location: PairLocation) -> PairSource:
        """Open the pairs at a location.

        Raises:
            ValueError: they can't be read, or too many rows lack a part.
        """
        if (shards := self.shards(location)) is not None:
            return self._open_shards(location, shards)
        file = self._path(location.file)
        parts = parquet_files(file)
        folder = (parts[0] if parts else file).parent if location.folder is None else self._path(location.folder)
        problems = Problems(file, self.max_bad_fraction)
        if not parts and not file.exists():
            raise ValueError(f"{file} does not exist")
        if parts or is_saved(file):
            return open_saved(file, parts, folder, self.columns, self.cache, problems)
        if file.is_dir() or file.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"{file} has none of the known formats: {', '.join(SUFFIXES)} or {PARQUET} files, folders of "
                f"{PARQUET} files or that the datasets library saved, and {TAR} files or folders of these with "
                f"{NSHARDS}"
            )
        return collect_files(read_rows(file, self.columns), folder, problems)

    def shards(self, location: PairLocation) -> list[Shard] | None:
        """List the shards at a location; None where it is of another format.

        Raises:
            ValueError: there are none, or a file of another format is at an address.
        """
        is_remote = "://" in f"{self.root}{location.file}"
        if is_remote and Path(location.file).suffix.lower() in (*SUFFIXES, PARQUET):
            raise ValueError(f"{location.file} is at an address, where only shards are read; download it first")
        parent, _, name = location.file.rstrip("/").rpartition("/")
        folder = parent or ("/" if location.file.startswith("/") else ".")
        if name.endswith(TAR):
            return self.store.shards(SplitLocation(folder, shards=name))
        if is_remote or (self._path(location.file) / NSHARDS).is_file():
            return self.store.shards(SplitLocation(folder, split=name))
        return None

    def _path(self, path: str) -> Path:
        return Path(self.root).expanduser() / Path(path).expanduser()

    def _open_shards(self, location: PairLocation, shards: list[Shard]) -> PairSource:
        source = IndexedSource(shards, ClassLabels(None), self.cache / "indices")
        problems = Problems(location.file, self.max_bad_fraction)
        problems.rows = len(source) + int(source.left_out.sum())
        for reason, count in zip(REASONS, source.left_out.tolist(), strict=True):
            if count:
                problems.add(reason, "", count)
        has_captions = source.has_captions
        for index in np.flatnonzero(~has_captions).tolist():
            problems.add(WITHOUT_CAPTION, source.key(index))
        problems.check()
        return PairSubset(source, np.flatnonzero(has_captions))
