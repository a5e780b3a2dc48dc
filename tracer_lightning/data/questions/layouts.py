"""Layouts of questions about images in files, and their rows as conversations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from tracer_lightning.data.core.tables import Fields
from tracer_lightning.data.questions.conversations import Turn
from tracer_lightning.data.questions.options import check_options

Column = Literal["image", "question", "answer", "options", "distractor", "conversations", "messages"]
Layout = Mapping[str, str]
"""Keys of a file by the names of :data:`Column`."""
MARKER = "<image>"
"""Text that stands for the image in a conversation."""
CONTENTS = (("conversations",), ("messages",), ("question", "answer"))
"""Columns of which a layout has one group, beside the image."""
LAYOUTS: Sequence[Layout] = (
    {"conversations": "conversations"},
    {"messages": "messages"},
    {"question": "question", "answer": "answer", "options": "options", "distractor": "distractor"},
    {"question": "prompt", "answer": "response", "options": "options", "distractor": "distractor"},
    {"question": "text", "answer": "label", "options": "options", "distractor": "classname"},
)
"""Known layouts: ShareGPT's and LLaVA's, that of chat models, plain ones, and that of ImageWikiQA, whose class name is
a wrong answer."""
IMAGES = ("image", "images")
"""Keys of the image where the layout does not name it."""
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
"""Roles of messages by their names."""


class QuestionRow(NamedTuple):
    """A row of a file."""

    image: str
    """Path of the image, relative to the folder of the images or absolute."""
    turns: tuple[Turn, ...]
    """Questions with their answers."""
    options: tuple[str, ...] = ()
    """Possible answers to the only question; empty if they are not listed, or part of the question."""
    distractor: str | None = None
    """Wrong answer to the last question whose choice is counted."""
    origin: str = ""
    """Location of the row, for messages."""


class _Message(NamedTuple):
    """A message of a conversation."""

    role: str
    text: str
    """Text without image markers."""
    images: int
    """Number of images in it."""


def check_columns(columns: Layout) -> Layout:
    """Return columns; raise ValueError unless they are a layout with the image and one kind of content."""
    names = get_args(Column)
    if unknown := sorted(set(columns) - set(names)):
        raise ValueError(f"columns must have keys among {', '.join(names)}; got {', '.join(unknown)}")
    contents = [group for group in CONTENTS if set(group) <= set(columns)]
    has_single_turns = "question" in columns
    extra = set(columns) - {"image", *(contents[0] if contents else ())}
    if "image" not in columns or len(contents) != 1 or (extra and not has_single_turns):
        raise ValueError(
            "columns must have image and either question and answer, and perhaps options and distractor, or "
            f"conversations, or messages; got {', '.join(columns) or 'none'}"
        )
    return columns


def find_layout(fields: Fields, origin: str) -> Layout:
    """Find the layout of a file by the keys of its first row."""
    for layout in LAYOUTS:
        required = next(group for group in CONTENTS if group[0] in layout)
        if all(layout[column] in fields for column in required):
            image = next((key for key in IMAGES if key in fields), IMAGES[0])
            return {"image": image, **layout}
    raise ValueError(
        f"{origin}: the keys {_join(fields)} are those of no known layout, such as image, question, answer; rename "
        "them, or set columns, as in {image: path, question: query, answer: reply}"
    )


def parse_row(fields: Fields, layout: Layout, origin: str, lists_options: bool = False) -> QuestionRow:
    """Read a row.

    Args:
        fields: values of the row.
        layout: keys of the file.
        origin: location of the row, for messages.
        lists_options: whether options must be a list, because they are to be given letters.

    Raises:
        ValueError: a part is missing or invalid, there is not exactly one image, or options contradict the answer.
    """
    image = _image(fields, layout["image"], origin)
    if "question" not in layout:
        column = next(name for name in ("conversations", "messages") if name in layout)
        messages = _messages(_value(fields, layout[column], column, origin), column, origin)
        turns = zip(messages[::2], messages[1::2], strict=True)
        return QuestionRow(image, tuple(Turn(question.text, answer.text) for question, answer in turns), origin=origin)
    question, answer = (
        _text(_value(fields, layout[column], column, origin), column, origin) for column in ("question", "answer")
    )
    if question.count(MARKER) > 1:
        raise ValueError(f"{origin}: the question has {question.count(MARKER)} {MARKER}; at most one is allowed")
    question = _text(question.replace(MARKER, ""), "question", origin)
    options, options_text = _options(_optional_value(fields, layout, "options"), lists_options, origin)
    distractor = _optional_value(fields, layout, "distractor")
    distractor = None if distractor is None else _text(distractor, "distractor", origin)
    if any(MARKER in text for text in (answer, *options, options_text, distractor or "")):
        raise ValueError(f"{origin}: {MARKER} must be in the question, and nowhere else")
    check_options(options, answer, distractor, origin)
    if options_text:
        question = f"{question}\n{options_text}"
    return QuestionRow(image, (Turn(question, answer),), options, distractor, origin)


def _join(keys: Collection[Any]) -> str:
    return ", ".join(map(str, keys)) or "none"


def _value(fields: Fields, key: str, column: str, origin: str) -> Any:
    """A value that must not be missing."""
    value = fields.get(key)
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
        name = column if key == column else f"{column} ({key})"
        raise ValueError(
            f"{origin}: it has no {name}; its keys are {_join(fields)}; add it, or set columns if another key has it"
        )
    return value


def _optional_value(fields: Fields, layout: Layout, column: str) -> Any:
    """A value that may be missing; None where it is, or is empty."""
    value = fields.get(layout[column]) if column in layout else None
    return None if value in ("", []) else value


def _text(value: Any, column: str, origin: str) -> str:
    """Check and strip a text."""
    if not isinstance(value, str):
        raise ValueError(f"{origin}: {column} must be text, got {value!r:.100}; write it in quotes")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{origin}: {column} has the character {error.object[error.start]!a}, which is no text"
        ) from error
    if not value.strip():
        raise ValueError(f"{origin}: {column} is blank")
    return value.strip()


def _image(fields: Fields, key: str, origin: str) -> str:
    value = _value(fields, key, "image", origin)
    images = value if isinstance(value, list) else [value]
    if len(images) > 1:
        raise ValueError(f"{origin}: it has {len(images)} images, and a row must have one")
    image = _text(images[0], "image", origin)
    if "://" in image or image.startswith("data:"):
        raise ValueError(f"{origin}: the image {image:.100} must be the path of a file; download it")
    return image


def _options(value: Any, lists_options: bool, origin: str) -> tuple[tuple[str, ...], str]:
    """Options as a list, or as a text that continues the question."""
    if value is None:
        return (), ""
    if isinstance(value, list):
        return tuple(_text(option, "each of the options", origin) for option in value), ""
    text = _text(value, "options", origin)
    if lists_options:
        raise ValueError(
            f"{origin}: options must be a list for letters, got the text {text!r:.100}; set letters to False"
        )
    return (), text


def _messages(value: Any, column: str, origin: str) -> list[_Message]:
    """Messages of a conversation whose image is in the first one."""
    if not isinstance(value, list):
        raise ValueError(f"{origin}: {column} must be a list of messages, got {value!r:.100}")
    role_key, text_key = ("from", "value") if column == "conversations" else ("role", "content")
    messages = []
    for number, message in enumerate(value, 1):
        where = f"{origin}, message {number}"
        if not isinstance(message, dict) or not {role_key, text_key} <= message.keys():
            raise ValueError(f"{where}: it must be an object with {role_key} and {text_key}, got {message!r:.100}")
        role = ROLES.get(message[role_key]) if isinstance(message[role_key], str) else None
        expected = "assistant" if number % 2 == 0 else "user"
        if role != expected:
            raise ValueError(
                f"{where}: {role_key} is {message[role_key]!r:.100}, and questions and answers must alternate, "
                "beginning with a question"
            )
        messages.append(_message(role, message[text_key], where))
    if len(messages) % 2:
        raise ValueError(f"{origin}: the last question has no answer")
    has_parts = any(isinstance(message[text_key], list) for message in value)
    _check_images(messages, column == "conversations" or has_parts, origin)
    return messages


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
    text = _text(content, "its content", where)
    images += text.count(MARKER)
    return _Message(role, _text(text.replace(MARKER, ""), "its text", where), images)


def _check_images(messages: Sequence[_Message], is_marked: bool, origin: str) -> None:
    """Raise ValueError unless the image is in the first message, and nowhere else."""
    count = sum(message.images for message in messages)
    if count > 1 or (is_marked and count == 0):
        raise ValueError(f"{origin}: the conversation has {count} {MARKER}, and it must have one")
    if count != messages[0].images:
        raise ValueError(f"{origin}: {MARKER} must be in the first question")
