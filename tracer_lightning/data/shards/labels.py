"""From what a shard says of a sample's class to the number of the class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from tracer_lightning.data.images.names import plain

NO_LABEL = -1
SHOWN = 3
"""Class names in messages."""


class Labels:
    """The classes of a set of shards.

    Args:
        count: how many there are; None where samples have captions of their own instead.
        names: what labels that are no numbers may say, in the order of the classes.
        named_by: what gives the number of classes, for messages, such as `` in data.texts.classnames``.
    """

    def __init__(self, count: int | None, names: Sequence[str] = (), named_by: str = "") -> None:
        self.count, self.names, self.named_by = count, names, named_by

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Names as they are, and without case and underscores, to their numbers; of equal ones the first."""
        numbered = list(enumerate(self.names))[::-1]
        return {plain(name): number for number, name in numbered} | {name: number for number, name in numbered}

    def number(self, where: object, label: int | str | None, captioned: bool) -> int:
        """The class of a sample; -1 where it has none.

        Args:
            where: the shard, for messages.
            label: a number, or a name.
            captioned: whether the sample has a caption of its own.

        Raises:
            ValueError: there is no such class.
        """
        if label is None:
            return NO_LABEL
        if isinstance(label, str):
            number = self._numbers.get(label, self._numbers.get(plain(label)))
            if number is not None:
                return number
            if self.count is None and captioned:
                return NO_LABEL
            known = ", ".join(self.names[:SHOWN]) or "none"
            raise ValueError(
                f"{where} has the label {label!r}, which is none of the {len(self.names)} class names ({known}, ...); "
                "write it as in classnames.txt, or as the number of its line, from 0 on"
            )
        if label < NO_LABEL or (self.count is not None and label >= self.count):
            raise ValueError(f"{where} has the label {label}, of {self.count} classes{self.named_by}")
        return label
