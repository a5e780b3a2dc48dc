"""Parquet files and folders that the ``datasets`` library saved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.in_memory import PackedCaptions
from tracer_lightning.data.pairs.columns import Columns
from tracer_lightning.data.pairs.content import group_by_content
from tracer_lightning.data.pairs.problems import WITHOUT_CAPTION, WITHOUT_IMAGE, Problems
from tracer_lightning.data.pairs.rows import PairRow
from tracer_lightning.data.pairs.sources import FilePairs, collect_files
from tracer_lightning.data.shards.labels import NO_LABEL
from tracer_lightning.data.shards.samples import captions_of
from tracer_lightning.data.shards.store import expand_pattern

PARQUET = ".parquet"
BYTES = ("binary", "large_binary")
"""Types of columns of encoded images; polars writes the second one."""
BATCH = 1000
"""Number of rows that are read at a time."""
SPLIT = re.compile("(?i)train|val|test|dev")
"""Beginning of the name of a file that has a split."""


def is_saved(file: Path) -> bool:
    """Whether a path is a folder that the library saved."""
    return any((file / name).is_file() for name in ("dataset_info.json", "dataset_dict.json"))


def parquet_files(path: Path) -> list[Path]:
    """Parquet files at a path; empty where it is of another format.

    Args:
        path: a file, a folder of files, or a pattern of files with ``{00..09}`` or ``*`` in the last part.

    Raises:
        ValueError: a file is missing, or the folder has several splits.
    """
    if path.is_dir():
        files = sorted(path.glob(f"*{PARQUET}"))
        splits = sorted({match[0].lower() for file in files if (match := SPLIT.match(file.name))})
        if len(splits) > 1:
            raise ValueError(
                f"{path} has several splits; choose one by a pattern, such as {path / splits[0]}*{PARQUET}"
            )
        return files
    if path.suffix.lower() != PARQUET or path.is_file():
        return [path] if path.is_file() and path.suffix.lower() == PARQUET else []
    files = []
    for name in expand_pattern(path.name):
        matches = sorted(path.parent.glob(name)) if "*" in name else [path.parent / name]
        if not matches or not matches[0].is_file():
            raise ValueError(f"{path.parent / name} does not exist")
        files += matches
    return files


def open_saved(
    file: Path, parts: Sequence[Path], folder: Path, columns: Columns, cache: Path, problems: Problems
) -> FilePairs | SavedPairs:
    """Open parquet files or a saved folder.

    Args:
        file: the file, folder or pattern of files.
        parts: the parquet files; empty for a saved folder.
        folder: folder that paths of images are relative to.
        columns: names of the columns.
        cache: folder for parquet files in the library's own format, which is read without loading all images.
        problems: counts rows that are left out.

    Raises:
        ValueError: the library is not installed, the file can't be read, or a column is missing or of another type;
            too many rows are left out.
    """
    dataset = _load(file, parts, columns, cache)
    image, caption = columns.find([dataset.column_names], file)
    feature = dataset.features[image]
    captions = [captions_of(value) for batch in _batches(dataset, caption) for value in batch]
    paths: list[str | None] | None = None
    if getattr(feature, "dtype", None) in ("string", "large_string"):
        paths = [path for batch in _batches(dataset, image) for path in batch]
    elif type(feature).__name__ != "Image" and getattr(feature, "dtype", None) not in BYTES:
        raise ValueError(f"{file}: the column {image} must have paths or images, and its type is {feature}")
    sizes = [] if paths is not None else _sizes(dataset, image)
    if paths is None and not any(sizes):  # the library saves the paths of images that it has not read
        paths = [(value or {}).get("path") for batch in _batches(dataset, image) for value in batch]
    if paths is None:
        return _collect(dataset, image, captions, np.array(sizes, np.int64), file, problems)
    rows = enumerate(zip(paths, captions, strict=True), 1)
    return collect_files(
        (PairRow(path or "", texts, f"{file}, row {number}") for number, (path, texts) in rows), folder, problems
    )


def _load(file: Path, parts: Sequence[Path], columns: Columns, cache: Path) -> Any:
    """The rows of files or of a folder, which stay on disk."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"{file} needs the library datasets: pip install -e '.[pairs]', or write a table of paths and captions"
        ) from error
    datasets.disable_progress_bars()
    chosen = _columns(parts, columns) if parts else None
    with _readable(file):
        if chosen is not None:
            paths = [str(part) for part in parts]
            dataset: Any = datasets.Dataset.from_parquet(paths, cache_dir=str(cache / "parquet"), columns=chosen)
        else:
            dataset = datasets.load_from_disk(str(file))
    if isinstance(dataset, datasets.DatasetDict):
        splits = ", ".join(str(file / name) for name in dataset)
        raise ValueError(f"{file} has several splits; choose one of {splits}")
    for name, feature in dataset.features.items():
        if type(feature).__name__ == "Image":
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
    return dataset


def _columns(parts: Sequence[Path], columns: Columns) -> list[str]:
    """The columns of images and captions in parquet files; raise ValueError for a file that lacks one of them."""
    from pyarrow import parquet

    names = []
    for part in parts:
        with _readable(part):
            schema = parquet.read_schema(part)
        names = list(columns.find([schema.names], part))
        columns = Columns(*names)
    return names


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Convert errors of the libraries to ValueErrors that name the file."""
    try:
        yield
    except Exception as error:  # damaged files raise errors of many classes
        raise ValueError(f"{file} can't be read: {' '.join(str(error).split())[:200]}") from error


def _batches(dataset: Any, column: str) -> Any:
    """Values of a column, in batches."""
    return (batch[column] for batch in dataset.select_columns([column]).iter(BATCH))


def _sizes(dataset: Any, image: str) -> list[int]:
    """Sizes in bytes of the encoded images in a column, which are not read; 0 where there is none."""
    import pyarrow.compute as pc

    sizes: list[int] = []
    for batch in dataset.select_columns([image]).with_format("arrow").iter(BATCH):
        column = batch.column(image)
        content = pc.struct_field(column, "bytes") if "struct" in str(column.type) else column
        sizes += pc.fill_null(pc.binary_length(content), 0).to_pylist()
    return sizes


def _collect(
    dataset: Any, image: str, captions: list[tuple[str, ...]], sizes: np.ndarray, file: Path, problems: Problems
) -> SavedPairs:
    """Collect the captions of each image; rows with the same image are one."""
    problems.rows = len(captions)
    is_complete = []
    for number, (size, texts) in enumerate(zip(sizes.tolist(), captions, strict=True), 1):
        if not size or not texts:
            problems.add(WITHOUT_CAPTION if size else WITHOUT_IMAGE, f"row {number}")
        is_complete.append(bool(size and texts))
    problems.check()
    rows = np.flatnonzero(is_complete)
    source = SavedPairs(dataset, image, rows, sizes[rows], [captions[row] for row in rows], file)
    first = group_by_content(source.sizes, source.read)
    groups: dict[int, list[str]] = {}
    for index, position in enumerate(first.tolist()):
        groups.setdefault(position, []).extend(source.captions(index))
    kept = np.array(list(groups), int)
    return SavedPairs(dataset, image, rows[kept], source.sizes[kept], list(groups.values()), file)


class SavedPairs:
    """Images in the rows of a data set of the ``datasets`` library, and their captions.

    Args:
        dataset: rows, whose images are not decoded.
        column: column of the images.
        rows: (N,) row of each image.
        sizes: (N,) sizes of the encoded images in bytes.
        captions: captions of each image.
        file: name of the data set, for messages.
    """

    def __init__(
        self, dataset: Any, column: str, rows: np.ndarray, sizes: np.ndarray, captions: list[Any], file: Path
    ) -> None:
        self.sizes, self.file = sizes, file
        self._dataset, self._column, self._rows = dataset.select_columns([column]), column, rows
        self._captions = PackedCaptions(captions)

    @property
    def labels(self) -> np.ndarray:
        """(N,) of -1: there are no classes."""
        return np.full(len(self), NO_LABEL)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._rows)

    def __getitem__(self, index: int) -> RawSample:
        """Return an encoded image with its captions."""
        return RawSample(self.read(index), NO_LABEL, f"{self.file}, row {self._rows[index] + 1}", self._captions[index])

    def read(self, index: int) -> bytes:
        """Return an encoded image."""
        value = self._dataset[int(self._rows[index])][self._column]
        content: bytes = value["bytes"] if isinstance(value, dict) else value
        return content

    def captions(self, index: int) -> tuple[str, ...]:
        """Return the captions of an image."""
        return self._captions[index]

    def key(self, index: int) -> str:
        """Return the number of an image's row."""
        return str(self._rows[index])
