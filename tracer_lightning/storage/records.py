"""Typed, closed records: what a file from elsewhere is read into before anything is made of it."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

LONGEST_TEXT = 4096
"""Characters of the longest text that a record may hold: as many as a path may have on Linux."""


class Closed(BaseModel):
    """A record with exactly the keys that it declares, each of its declared type; nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())


def literal(text: str) -> str:
    """The text; ValueError where a configuration would read it as something else than itself."""
    if "${" in text or text == "???" or not text.isprintable():
        raise ValueError("it must be plain text, without references or control characters")
    return text


Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT), AfterValidator(literal)]
"""Printable text that stands for itself."""
Shown = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
"""Any text, which is only ever shown, and escaped where it is."""
Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""An identifier: letters, digits, hyphens and underscores."""
R = TypeVar("R", bound=BaseModel)


def read_record(kind: type[R], content: Any, where: str) -> R:
    """The content as a record of this kind.

    Args:
        kind: of the record.
        content: what a file holds, parsed.
        where: what the content is, for errors.

    Raises:
        ValueError: a key is unknown or missing, or a value is not of its type; names the first.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(_shortened(str(part), 50) for part in first["loc"])
        raise ValueError(f"{where}{f': {place}' if place else ''}: {_shortened(first['msg'], 300)}") from error


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
