"""Lists of messages, as of ShareGPT and of chat models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tracer_lightning.data.questions.conversations import Turn
from tracer_lightning.data.questions.values import check_text, is_missing, parse_list

MARKER = "<image>"
"""Text that stands for the image in a conversation."""
ROLES = {
    **{"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"},
    "system": "system",
}
"""Roles of messages by their names."""
KEYS = {"conversations": ("from", "value"), "messages": ("role", "content")}
"""Keys of a message's role and content by column."""


class Chat(NamedTuple):
    """A conversation about an image."""

    turns: tuple[Turn, ...]
    """Questions with their answers, without image markers."""
    system: str | None
    """System message before them."""


class _Message(NamedTuple):
    """A message of a conversation."""

    role: str
    text: str
    """Text without image markers."""
    images: int
    """Number of images in it."""


def mentions_image(value: Any) -> bool:
    """Whether a text or messages have an image in them, by marker or as a part, such as OpenAI's ``image_url``."""
    if isinstance(value, dict):
        return "image" in str(value.get("type")) or any(map(mentions_image, value.values()))
    return any(map(mentions_image, value)) if isinstance(value, list) else MARKER in str(value)


def parse_chat(value: Any, column: str, origin: str) -> Chat:
    """Read messages: perhaps one of the system, then questions and answers in turn, with the image in the first one.

    Args:
        value: list of messages, or its text.
        column: ``conversations`` or ``messages``.
        origin: location of the row, for messages of errors.

    Raises:
        ValueError: it is no such list.
    """
    listed = parse_list(value)
    if not isinstance(listed, list):
        raise ValueError(f"{origin}: {column} must be a list of messages, got {value!r:.100}")
    role_key, content_key = KEYS[column]
    messages: list[_Message] = []
    system = None
    for number, message in enumerate(listed, 1):
        where = f"{origin}, message {number}"
        if not isinstance(message, dict) or not {role_key, content_key} <= message.keys():
            raise ValueError(f"{where}: it must be an object with {role_key} and {content_key}, got {message!r:.100}")
        role = ROLES.get(message[role_key]) if isinstance(message[role_key], str) else None
        if role == "system" and number == 1:
            system = _system(message[content_key], where)
            continue
        expected = "assistant" if len(messages) % 2 else "user"
        if role != expected:
            raise ValueError(
                f"{where}: {role_key} is {message[role_key]!r:.100}, and questions and answers must alternate, "
                "beginning with a question; only a system message may precede them"
            )
        messages.append(_message(role, message[content_key], where))
    if len(messages) % 2 or not messages:
        raise ValueError(f"{origin}: the last question has no answer" if messages else f"{origin}: it has no question")
    has_parts = any(isinstance(message[content_key], list) for message in listed)
    _check_images(messages, column == "conversations" or has_parts, origin)
    pairs = zip(messages[::2], messages[1::2], strict=True)
    return Chat(tuple(Turn(question.text, answer.text) for question, answer in pairs), system)


def _system(content: Any, where: str) -> str | None:
    """Text of a system message; None if it is blank."""
    if is_missing(content):
        return None
    message = _message("system", content, where)
    if message.images:
        raise ValueError(f"{where}: {MARKER} must be in the first question")
    return message.text


def _message(role: str, content: Any, where: str) -> _Message:
    images = 0
    if isinstance(content, list):
        texts = []
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                texts.append(part["text"])
            elif kind == "image":
                images += 1
            else:
                raise ValueError(f"{where}: each part of content must be an image or a text, got {part!r:.100}")
        content = "".join(texts)
    text = check_text(content, "its content", where)
    images += text.count(MARKER)
    return _Message(role, check_text(text.replace(MARKER, ""), "its text", where), images)


def _check_images(messages: Sequence[_Message], is_marked: bool, origin: str) -> None:
    """Raise ValueError unless the image is in the first message, and nowhere else."""
    count = sum(message.images for message in messages)
    if count > 1 or (is_marked and count == 0):
        raise ValueError(f"{origin}: the conversation has {count} {MARKER}, and it must have one")
    if count != messages[0].images:
        raise ValueError(f"{origin}: {MARKER} must be in the first question")
