"""Settings that depend on this machine's files: made explicit before anything is built, and so in checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tracer_lightning.config.errors import setting
from tracer_lightning.config.mixing import AUXILIARY_SETS
from tracer_lightning.config.paths import with_absolute_root
from tracer_lightning.data.images.names import read_classnames, read_templates
from tracer_lightning.data.images.splits import resolve_splits
from tracer_lightning.storage.records import LONGEST_TEXT, check_literal

TEXTS: dict[str, Callable[[Path], list[str]]] = {
    "data.texts.classnames": read_classnames,
    "data.texts.train_classnames": read_classnames,
    "data.texts.templates": read_templates,
    "data.texts.train_templates": read_templates,
}
"""Settings that may name a file with one text a line, and the functions that read it."""
TEST_SETS = ("suite", "data.folders.others")
"""Settings that map names of test sets to their entries, whose texts may name such files, too."""
MAX_TEXTS = 50_000
"""Greatest number of lines of such a file, since checkpoints include them."""


@contextmanager
def local_data(cfg: DictConfig) -> Iterator[DictConfig]:
    """The configuration with an absolute ``data.root``, the folders of all splits, and texts in place of their files.

    Errors within the context that name the setting of such a file also name the file.

    Args:
        cfg: composed configuration, changed in place.
    """
    if cfg.get("tasks"):  # each task has data of its own, with which it enters this context
        yield cfg
        return
    for key in ("data", *(f"{AUXILIARY_SETS}.{name}" for name in _auxiliary_sets(cfg))):
        with_absolute_root(cfg, key)
    _resolve_folders(cfg)
    files = _read_texts(cfg)
    try:
        yield cfg
    except ValueError as error:
        text = str(error)
        for key, path in files.items():
            argument = key.removeprefix("data.")  # by which the data module names the setting
            text = text.replace(argument, f"{argument}={path}")
        if text == str(error):
            raise
        raise ValueError(text) from error


def _resolve_folders(cfg: DictConfig) -> None:
    """Set the folders of the training, validation and test splits where they are null."""
    root, folders = _value(cfg, "data.root"), _value(cfg, "data.folders")
    splits = ("train", "val", "test")
    if isinstance(root, str) and isinstance(folders, Mapping) and None in map(folders.get, splits):
        names = [*(folders.get(split, "") for split in splits), *(folders.get("ood") or {}).values()]
        if all(isinstance(name, str | None) for name in names):
            cfg.data.folders = resolve_splits(Path(root), folders)


def _read_texts(cfg: DictConfig) -> dict[str, Path]:
    """Replace paths of files by the lines of the files; returns setting to path."""
    files: dict[str, Path] = {}
    for key, read in _text_settings(cfg).items():
        value = _value(cfg, key)
        if isinstance(value, str):
            files[key] = Path(value).expanduser().absolute()
            with setting(key):
                OmegaConf.update(cfg, key, _read_lines(files[key], read), merge=False)
    return files


def _text_settings(cfg: DictConfig) -> dict[str, Callable[[Path], list[str]]]:
    """Settings that may name a file of texts, and the functions that read it."""
    readers = dict(TEXTS)
    for name in _auxiliary_sets(cfg):
        readers |= {key.replace("data.", f"{AUXILIARY_SETS}.{name}.", 1): read for key, read in TEXTS.items()}
    for group in TEST_SETS:
        entries = _value(cfg, group)
        for name in entries if isinstance(entries, Mapping) else ():
            readers[f"{group}.{name}.classnames"] = read_classnames
            readers[f"{group}.{name}.templates"] = read_templates
    return readers


def _auxiliary_sets(cfg: DictConfig) -> list[str]:
    """Names of the auxiliary training sets."""
    sets = OmegaConf.select(cfg, AUXILIARY_SETS, throw_on_missing=False)
    return [str(name) for name in sets] if isinstance(sets, DictConfig) else []


def _read_lines(path: Path, read: Callable[[Path], list[str]]) -> list[str]:
    """The lines of a file, within the limits for settings in checkpoints."""
    try:
        lines = read(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; give a file with one text a line") from error
    if len(lines) > MAX_TEXTS:
        raise ValueError(f"{path} has {len(lines):,} lines; at most {MAX_TEXTS:,} are allowed")
    for number, line in enumerate(lines, 1):
        try:
            check_literal(line)
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}") from error
        if len(line) > LONGEST_TEXT:
            raise ValueError(f"{path}: line {number} has {len(line):,} characters, of at most {LONGEST_TEXT:,}")
    return lines


def _value(cfg: DictConfig, key: str) -> Any:
    """The plain value of a setting; None where it does not exist or is not set."""
    value = OmegaConf.select(cfg, key, throw_on_missing=False)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
