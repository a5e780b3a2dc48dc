"""Training classes that the labels of a set of shards cover, by number or by name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any

from tracer_lightning.data.images.imagenet import Classes
from tracer_lightning.data.images.names import normalize_name

ClassGroups = tuple[tuple[int | str, ...], ...]
"""Numbers or names of the training classes that each label covers."""
PLAIN_NAME = re.compile(r"[A-Za-z][\w -]*\w")
"""Names that need no quotes in YAML, unless they are one of :data:`YAML_WORDS`."""
YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "nan", "inf"})


def parse_groups(key: str, groups: Any) -> ClassGroups | None:
    """Parse a list with a class name, or a list of class indices and names, for each label; None for None.

    Args:
        key: name of the argument, for messages.
        groups: value of the argument.

    Raises:
        ValueError: the value has another form.
    """
    if groups is None:
        return None
    entries = groups if isinstance(groups, list | tuple) else ()
    parsed = tuple(
        (group,) if isinstance(group, str) else tuple(group) if isinstance(group, list | tuple) else ()
        for group in entries
    )
    if not parsed or not all(parsed) or not all(_is_class(member) for group in parsed for member in group):
        raise ValueError(
            f"{key} must be a list of class indices for each label, or of class names, such as [[3], [7, 8]] or "
            "[cat, [truck, lorry]]"
        )
    return parsed


def _is_class(member: Any) -> bool:
    if isinstance(member, str):
        return bool(member)
    return isinstance(member, int) and not isinstance(member, bool) and member >= 0


def resolve_groups(key: str, groups: ClassGroups | None, classnames: Sequence[str], source: str = "") -> Classes | None:
    """Replace names by the indices of the training classes; None for None.

    Args:
        key: name of the argument, for messages.
        groups: numbers or names of the training classes that each label covers.
        classnames: names of the training classes.
        source: origin of the names, for messages, such as `` in texts.classnames``.

    Raises:
        ValueError: there is no class of this number or name, or several have this name.
    """
    if groups is None:
        return None
    resolved = tuple(
        tuple(_index(key, member, classnames) if isinstance(member, str) else member for member in group)
        for group in groups
    )
    labels: dict[tuple[int, ...], int] = {}
    for label, group in enumerate(resolved):
        first = labels.setdefault(tuple(sorted(group)), label)
        if first != label:
            raise ValueError(f"{key}: labels {first} and {label} cover the same training classes, {list(group)}")
    largest = max(index for group in resolved for index in group)
    if largest >= len(classnames):
        raise ValueError(f"{key} contains class {largest}, but there are {len(classnames)}{source}")
    return resolved


def _index(key: str, name: str, classnames: Sequence[str]) -> int:
    """Index of the class of this name, which is compared exactly or, where no class has it, in its normalised form."""
    indices = [number for number, classname in enumerate(classnames) if classname == name] or [
        number for number, classname in enumerate(classnames) if normalize_name(classname) == normalize_name(name)
    ]
    if len(indices) > 1:
        raise ValueError(
            f"{key} contains {name!r}, the name of the training classes {indices[0]} and {indices[1]}; write "
            f"[{indices[0]}] or [{indices[1]}] instead"
        )
    if not indices:
        normalised = {normalize_name(classname): classname for classname in classnames}
        near = difflib.get_close_matches(normalize_name(name), normalised, n=1)
        hint = f"; the nearest is {normalised[near[0]]!r}" if near else ""
        raise ValueError(f"{key} contains {name!r}, which no training class is called{hint}")
    return indices[0]


def suggest_groups(names: Sequence[str], classnames: Sequence[str]) -> str | None:
    """Suggest the setting ``classes`` of a set whose classes are a strict subset of the training classes.

    Args:
        names: class names of the set.
        classnames: names of the training classes.

    Returns:
        A list in YAML of names or, where several training classes share a name, of their numbers; None where a name is
        not that of a training class, or nothing is left out.
    """
    by_name: dict[str, list[int]] = {}
    for number, classname in enumerate(classnames):
        by_name.setdefault(normalize_name(classname), []).append(number)
    matches = [by_name.get(normalize_name(name), []) for name in names]
    if len(set(map(normalize_name, names))) >= len(classnames) or not all(matches):
        return None
    entries = [_quoted(classnames[match[0]]) if len(match) == 1 else str(match) for match in matches]
    return f"[{', '.join(entries)}]"


def _quoted(name: str) -> str:
    """The name as YAML reads it as a text."""
    is_plain = PLAIN_NAME.fullmatch(name) and name.isascii() and name.lower() not in YAML_WORDS
    return name if is_plain else json.dumps(name, ensure_ascii=False)
