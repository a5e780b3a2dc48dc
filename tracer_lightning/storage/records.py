"""Strictly typed records, into which files from elsewhere are parsed before anything uses them."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

LONGEST_TEXT = 4096
"""Maximum number of characters of a text in a record: the length limit of paths on Linux."""


class StrictRecord(BaseModel):
    """A record that accepts exactly its declared keys, each of its declared type, without conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())


def check_literal(text: str) -> str:
    """Return the text; raise ValueError where OmegaConf would interpolate it or take it for a missing value."""
    if "${" in text or text == "???" or not text.isprintable():
        raise ValueError("it must be plain text, without references or control characters")
    return text


Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT), AfterValidator(check_literal)]
"""Printable text without special meaning to OmegaConf."""
DisplayText = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
"""Text of any content that is only displayed, escaped for its output format."""
Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""An identifier: letters, digits, hyphens and underscores."""
R = TypeVar("R", bound=BaseModel)


def read_record(kind: type[R], content: Any, where: str) -> R:
    """Validate parsed content as a record.

    Args:
        kind: class of the record.
        content: parsed content of a file.
        where: name of the content, for error messages.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type; the message names the first one.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(_shorten(str(part), 50) for part in first["loc"])
        raise ValueError(f"{where}{f': {key}' if key else ''}: {_shorten(first['msg'], 300)}") from error


def _shorten(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else f"{text[:max_length]}..."
