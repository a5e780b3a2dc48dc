"""Checks of class names and templates that were read from files, where every line counts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from tracer_lightning.data.captions import PLACEHOLDER


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
