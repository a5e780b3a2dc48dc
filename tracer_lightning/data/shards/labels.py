"""Conversion of labels in shards to class indices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from tracer_lightning.data.images.names import normalize_name

NO_LABEL = -1
MAX_NAMES = 3
"""Maximum number of class names in a message."""


class ClassLabels:
    """Classes of a set of shards.

    Args:
        count: number of classes; None where samples have captions instead.
        names: class names in order, by which labels may name a class.
        names_source: origin of the number of classes, for messages, such as `` in data.texts.classnames``.
    """

    def __init__(self, count: int | None, names: Sequence[str] = (), names_source: str = "") -> None:
        self.count, self.names, self.names_source = count, names, names_source

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Class indices by name and by normalised name; the first of equal names counts."""
        numbered = list(enumerate(self.names))[::-1]
        return {normalize_name(name): number for number, name in numbered} | {name: number for number, name in numbered}

    def number(self, where: object, label: int | str | None, captioned: bool) -> int:
        """Return the class index of a sample; -1 where it has none.

        Args:
            where: name of the shard, for messages.
            label: label of the sample, a number or a name.
            captioned: whether the sample has its own caption.

        Raises:
            ValueError: there is no such class.
        """
        if label is None:
            return NO_LABEL
        if isinstance(label, str):
            number = self._numbers.get(label, self._numbers.get(normalize_name(label)))
            if number is not None:
                return number
            if self.count is None and captioned:
                return NO_LABEL
            known = ", ".join(self.names[:MAX_NAMES]) or "none"
            raise ValueError(
                f"{where} has the label {label!r}, which is none of the {len(self.names)} class names ({known}, ...); "
                "use a name of classnames.txt, or its line number counted from 0"
            )
        if label < NO_LABEL or (self.count is not None and label >= self.count):
            raise ValueError(f"{where} has the label {label}, of {self.count} classes{self.names_source}")
        return label
