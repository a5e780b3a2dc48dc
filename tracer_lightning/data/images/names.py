"""Reading and validation of class names and templates."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from tracer_lightning.storage import read_text, split_lines

PLACEHOLDER = "{c}"
"""Placeholder of the class name in a template."""
SEPARATOR = "|"
"""What separates several names of one class, in class names for captions."""
MAX_NAMES = 5
"""Maximum number of names in the name of a group."""


def split_names(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Split the names of each class for captions: ``tabby|cat`` are two; raise ValueError where one is blank."""
    split = [tuple(part.strip() for part in name.split(SEPARATOR)) if SEPARATOR in name else (name,) for name in names]
    for name, parts in zip(names, split, strict=True):
        if len(parts) > 1 and "" in parts:
            raise ValueError(f"{name!r} has a blank between its separators {SEPARATOR}; write a name there")
    return split


def group_name(names: Sequence[str]) -> str:
    """Name a label that covers several classes; long lists of names are abbreviated."""
    more = len(names) - MAX_NAMES
    return " / ".join([*names[:MAX_NAMES], *([f"{more} more"] if more > 0 else [])])


def check_classnames(names: Sequence[str], file: object) -> None:
    """Warn of blank lines, which are kept, since line numbers identify the classes."""
    for line, name in enumerate(names, 1):
        if not name:
            warnings.warn(
                f"{file}: line {line} is blank, so that class {line - 1} has no name; write one there", stacklevel=2
            )


def check_templates(templates: Sequence[str], file: object) -> None:
    """Raise ValueError for a template without the placeholder."""
    for line, template in enumerate(templates, 1):
        if PLACEHOLDER not in template:
            raise ValueError(f"{file}: line {line}: template {template!r} lacks the placeholder {PLACEHOLDER}")


def parse_texts(key: str, texts: Any) -> tuple[str, ...] | None:
    """Parse a list of class names or templates.

    Args:
        key: name of the argument, for messages.
        texts: value of the argument.

    Raises:
        ValueError: the value is neither None nor a list of one or more texts.
    """
    if texts is None:
        return None
    is_list = isinstance(texts, list | tuple) and all(isinstance(text, str) and text for text in texts)
    if not is_list or not texts:
        raise ValueError(f"{key} must be a list of one or more texts, or None, got {texts!r}")
    return tuple(texts)


def parse_templates(key: str, templates: Any) -> tuple[str, ...] | None:
    """Parse a list of templates as :func:`parse_texts` does; raise ValueError for one without the placeholder."""
    parsed = parse_texts(key, templates)
    for template in parsed or ():
        if PLACEHOLDER not in template:
            raise ValueError(f"{key}: template {template!r} lacks the placeholder {PLACEHOLDER}")
    return parsed


def read_classnames(path: Path) -> list[str]:
    """Read class names, one per line; raise ValueError for a blank line."""
    names = _read_lines(path)
    if "" in names:
        blank = names.index("")
        raise ValueError(f"{path}: line {blank + 1} is blank; write the name of class {blank} there")
    return names


def read_templates(path: Path) -> list[str]:
    """Read templates, one per line; raise ValueError for one without the placeholder."""
    templates = _read_lines(path)
    check_templates(templates, path)
    return templates


def _read_lines(path: Path) -> list[str]:
    lines = split_lines(read_text(path))
    if not lines:
        raise ValueError(f"{path} is empty; write one entry per line")
    return lines


def warn_indistinguishable(names: Sequence[str], keys: Sequence[Hashable]) -> None:
    """Warn of classes whose names are equal to a text encoder.

    Args:
        names: C class names.
        keys: normalised form of each name, such as its tokens.
    """
    first_with: dict[Hashable, int] = {}
    pairs = [(first, index) for index, key in enumerate(keys) if (first := first_with.setdefault(key, index)) != index]
    if pairs:
        first, second = pairs[0]
        more = f" (and {len(pairs) - 1} more pairs)" if len(pairs) > 1 else ""
        warnings.warn(
            f"classes {first} ({names[first]!r}) and {second} ({names[second]!r}) have the same text, so that a text "
            f"encoder can't distinguish them{more}; merge or rename them",
            stacklevel=3,
        )


def check_order(
    key: str,
    names: Sequence[str],
    own_names: Sequence[str],
    source: object,
    remedy: str = "write them in the same order",
) -> None:
    """Raise ValueError where names are those of a data set in another order, which would swap its classes.

    Names are compared in their normalised form (:func:`normalize_name`). Other names are no error: they may be better
    ones for the same classes.

    Args:
        key: name of the argument that has the names, for messages.
        names: C class names in the order of the labels.
        own_names: C class names that the data set itself has.
        source: where these are, for messages.
        remedy: what to do about it, for messages.
    """
    normalized, own_normalized = [*map(normalize_name, names)], [*map(normalize_name, own_names)]
    if normalized != own_normalized and sorted(normalized) == sorted(own_normalized):
        label = next(number for number, name in enumerate(normalized) if name != own_normalized[number])
        raise ValueError(
            f"{key} has the names of {source} in another order: class {label} is {own_names[label]!r} there, and not "
            f"{names[label]!r}; {remedy}"
        )


def normalize_name(name: str) -> str:
    """Normalise a name as CLIP's tokenizers do: ignore case, underscores and repeated blanks."""
    return " ".join(name.casefold().replace("_", " ").split())
