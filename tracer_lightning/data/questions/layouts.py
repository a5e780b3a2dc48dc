"""Layouts of files of questions about images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, get_args

from tracer_lightning.data.core.tables import Fields

Column = Literal[
    "image",
    "question",
    "input",
    "answer",
    "options",
    "distractor",
    "history",
    "system",
    "conversations",
    "messages",
]
Layout = Mapping[str, str]
"""Keys of a file by the names of :data:`Column`."""
CONTENTS = (("conversations",), ("messages",), ("question", "answer"))
"""Columns of which a layout has one group, beside the image."""
SYSTEM: Layout = {"system": "system"}
WRONG: Layout = {"options": "options", "distractor": "distractor"}
LAYOUTS: Sequence[Layout] = (
    {"conversations": "conversations", **SYSTEM},
    {"messages": "messages", **SYSTEM},
    {"question": "question", "answer": "answer", **WRONG},
    {"question": "prompt", "answer": "response", **WRONG},
    {"question": "text", "answer": "label", "options": "options", "distractor": "classname"},
    {"question": "instruction", "input": "input", "answer": "output", "history": "history", **WRONG, **SYSTEM},
)
"""Known layouts: ShareGPT's and LLaVA's, that of chat models, plain ones, that of ImageWikiQA, whose class name is a
wrong answer, and Alpaca's."""
IMAGES = ("image", "images")
"""Keys of the image where the layout does not name it."""


def check_columns(columns: Layout) -> Layout:
    """Return columns; raise ValueError unless they are a layout with the image and one kind of content."""
    names = get_args(Column)
    if unknown := sorted(set(columns) - set(names)):
        raise ValueError(f"columns must have keys among {', '.join(names)}; got {', '.join(unknown)}")
    contents = [group for group in CONTENTS if set(group) <= set(columns)]
    has_single_turns = "question" in columns
    extra = set(columns) - {"image", "system", *(contents[0] if contents else ())}
    if "image" not in columns or len(contents) != 1 or (extra and not has_single_turns):
        raise ValueError(
            "columns must have image and either question and answer, and perhaps input, options, distractor, history "
            "and system, or conversations or messages, and perhaps system; got " + (", ".join(columns) or "none")
        )
    return columns


def find_layout(fields: Fields, origin: str) -> Layout:
    """Find the layout of a file by the keys of its first row; it has no image where rows may have either key of it."""
    for layout in LAYOUTS:
        required = next(group for group in CONTENTS if group[0] in layout)
        if all(layout[column] in fields for column in required):
            return layout
    raise ValueError(
        f"{origin}: the keys {join_keys(fields)} are those of no known layout, such as image, question, answer; rename "
        "them, or set columns, as in {image: path, question: query, answer: reply}"
    )


def image_key(fields: Fields, layout: Layout) -> str:
    """Key of a row's image: that of the layout, or the one of :data:`IMAGES` that the row has."""
    return layout.get("image") or next((key for key in IMAGES if fields.get(key)), IMAGES[0])


def join_keys(keys: Collection[Any]) -> str:
    """Keys for messages."""
    return ", ".join(map(str, keys)) or "none"
