"""Rows of files of questions as conversations."""

from __future__ import annotations

from typing import Any, NamedTuple

from tracer_lightning.data.core.tables import Fields
from tracer_lightning.data.questions.chats import MARKER, mentions_image, parse_chat
from tracer_lightning.data.questions.conversations import Turn
from tracer_lightning.data.questions.layouts import Layout, image_key
from tracer_lightning.data.questions.options import check_options
from tracer_lightning.data.questions.values import (
    check_text,
    is_missing,
    optional_text,
    optional_value,
    parse_list,
    required_value,
)


class QuestionRow(NamedTuple):
    """A row of a file."""

    image: str
    """Path of the image, relative to the folder of the images or absolute."""
    turns: tuple[Turn, ...]
    """Questions with their answers."""
    options: tuple[str, ...] = ()
    """Possible answers to the last question; empty if they are not listed, or part of the question."""
    distractor: str | None = None
    """Wrong answer to the last question whose choice is counted."""
    origin: str = ""
    """Location of the row, for messages."""
    system: str | None = None
    """System message before the first question."""


def parse_row(fields: Fields, layout: Layout, origin: str, lists_options: bool = False) -> QuestionRow | None:
    """Read a row; None for one of text alone, in a layout of instructions and chats, of which some have no image.

    Args:
        fields: values of the row.
        layout: keys of the file.
        origin: location of the row, for messages.
        lists_options: whether options must be a list, because they are to be given letters.

    Raises:
        ValueError: a part is missing or invalid, there is not exactly one image, or options contradict the answer.
    """
    if _is_text_alone(fields, layout):
        return None
    image = _image(fields, image_key(fields, layout), origin)
    system = optional_text(fields, layout, "system", origin)
    if "question" in layout:
        return _instruction(fields, layout, origin, lists_options)._replace(image=image, system=system)
    column = next(name for name in ("conversations", "messages") if name in layout)
    chat = parse_chat(required_value(fields, layout[column], column, origin), column, origin)
    if system and chat.system:
        raise ValueError(f"{origin}: it has two system messages, one of them in {column}; remove one")
    return QuestionRow(image, chat.turns, origin=origin, system=system or chat.system)


def _is_text_alone(fields: Fields, layout: Layout) -> bool:
    """Whether a row has no image and does not mention one, where the layout allows this."""
    if "question" in layout and "input" not in layout:
        return False
    texts = [fields.get(key) for column, key in layout.items() if column != "image"]
    return is_missing(fields.get(image_key(fields, layout))) and not mentions_image(texts)


def _image(fields: Fields, key: str, origin: str) -> str:
    value = parse_list(required_value(fields, key, "image", origin))
    images = value if isinstance(value, list) else [value]
    if len(images) != 1:
        raise ValueError(f"{origin}: it has {len(images)} images, and a row must have one")
    image = check_text(images[0], "image", origin)
    if "://" in image or image.startswith("data:"):
        raise ValueError(f"{origin}: the image {image:.100} must be the path of a file; download it")
    return image


def _instruction(fields: Fields, layout: Layout, origin: str, lists_options: bool) -> QuestionRow:
    """A question with its answer, perhaps behind others; the image is left to be filled in."""
    earlier = _history(fields, layout, origin)
    question = _question(fields, layout, origin)
    answer = check_text(required_value(fields, layout["answer"], "answer", origin), "answer", origin)
    turns = [*earlier, Turn(question, answer)]
    marked = [turn.question.count(MARKER) for turn in turns]
    if sum(marked) > 1:
        raise ValueError(f"{origin}: the question has {sum(marked)} {MARKER}; at most one is allowed")
    *earlier, last = (
        turn._replace(question=check_text(turn.question.replace(MARKER, ""), "question", origin)) for turn in turns
    )
    options, options_text = _options(optional_value(fields, layout, "options"), lists_options, origin)
    distractor = optional_text(fields, layout, "distractor", origin)
    told = (*(turn.answer for turn in turns), *options, options_text, distractor or "")
    if any(marked[1:]) or any(MARKER in text for text in told):
        raise ValueError(f"{origin}: {MARKER} must be in the {'first ' * bool(earlier)}question, and nowhere else")
    check_options(options, answer, distractor, origin)
    if options_text:
        last = last._replace(question=f"{last.question}\n{options_text}")
    return QuestionRow("", (*earlier, last), options, distractor, origin)


def _question(fields: Fields, layout: Layout, origin: str) -> str:
    """The question, which may have its input on a line of its own."""
    further = optional_text(fields, layout, "input", origin)
    if further is not None and is_missing(fields.get(layout["question"])):
        return further
    question = check_text(required_value(fields, layout["question"], "question", origin), "question", origin)
    return question if further is None else f"{question}\n{further}"


def _history(fields: Fields, layout: Layout, origin: str) -> list[Turn]:
    """Earlier questions with their answers."""
    history = parse_list(optional_value(fields, layout, "history"))
    if history is None:
        return []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise ValueError(f"{origin}: history must be a list of [question, answer], got {history!r:.100}")
    return [
        Turn(*(check_text(text, "each question and answer of history", origin) for text in pair)) for pair in history
    ]


def _options(value: Any, lists_options: bool, origin: str) -> tuple[tuple[str, ...], str]:
    """Options as a list, or as a text that continues the question."""
    if value is None:
        return (), ""
    listed = parse_list(value)
    if isinstance(listed, list):
        return tuple(check_text(option, "each of the options", origin) for option in listed), ""
    text = check_text(value, "options", origin)
    if lists_options:
        raise ValueError(
            f"{origin}: options must be a list for letters, got the text {text!r:.100}; write a list as in "
            '["cat", "dog"], or set letters to False'
        )
    return (), text
