"""Class names and templates: what must hold of them, whatever they were read from."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path

from tracer_lightning.storage import read_text, split_lines

PLACEHOLDER = "{c}"
"""Stands in a template for the name of the class."""


SHOWN = 5
"""Names of a group that are written out."""


def group_name(names: Sequence[str]) -> str:
    """The name of a label that covers classes of these names; of many, the first few and how many there are more."""
    more = len(names) - SHOWN
    return " / ".join([*names[:SHOWN], *([f"{more} more"] if more > 0 else [])])


def check_classnames(names: Sequence[str], file: object) -> None:
    """Warn of blank lines, which are kept: a class is known by the number of its line."""
    for line, name in enumerate(names, 1):
        if not name:
            warnings.warn(
                f"{file}: line {line} is blank, so that class {line - 1} has no name; write one there", stacklevel=2
            )


def check_templates(templates: Sequence[str], file: object) -> None:
    """Raise ValueError for a line without a place for the class."""
    for line, template in enumerate(templates, 1):
        if PLACEHOLDER not in template:
            raise ValueError(f"{file}: line {line}: template {template!r} lacks the placeholder {PLACEHOLDER}")


def read_classnames(path: Path) -> list[str]:
    """The lines of a file; ValueError names one that is blank."""
    names = _lines(path)
    if "" in names:
        blank = names.index("")
        raise ValueError(f"{path}: line {blank + 1} is blank; write the name of class {blank} there")
    return names


def read_templates(path: Path) -> list[str]:
    """The lines of a file; ValueError names one without a place for the class."""
    templates = _lines(path)
    check_templates(templates, path)
    return templates


def _lines(path: Path) -> list[str]:
    lines = split_lines(read_text(path))
    if not lines:
        raise ValueError(f"{path} is empty; it needs a line for each")
    return lines


def warn_alike(names: Sequence[str], keys: Sequence[Hashable]) -> None:
    """Warn of classes that a model of texts can't tell apart.

    Args:
        names: C class names.
        keys: what is left of each name where it is used, such as its tokens.
    """
    first: dict[Hashable, int] = {}
    pairs = [(other, number) for number, key in enumerate(keys) if (other := first.setdefault(key, number)) != number]
    if pairs:
        one, other = pairs[0]
        more = f" (and {len(pairs) - 1} more such)" if len(pairs) > 1 else ""
        warnings.warn(
            f"classes {one} ({names[one]!r}) and {other} ({names[other]!r}) read the same, so that no text can "
            f"tell them apart{more}; merge them or give them other names",
            stacklevel=3,
        )


def plain(name: str) -> str:
    """A name without what tokenizers of CLIP models leave aside: case, and more than one blank between words."""
    return " ".join(name.casefold().replace("_", " ").split())
