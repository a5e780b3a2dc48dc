"""Rules by which a generated text is a right answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

Judge = Literal["exact", "option", "contains"]
"""``exact``: the answer, and nothing else, in one forward pass without generation. Others: see :data:`RULES`."""


def chooses_option(text: str, answer: str) -> bool:
    """Whether a text chooses an option by its letter: ``C``, ``c.``, ``C. stretcher`` or ``Answer: C``.

    The text after the last colon, stripped and in upper case, must be the answer or begin with it and a full stop, as
    in the released code of He Li et al. (2026, arXiv 2603.14493). ``The answer is C`` does not count.

    Args:
        text: generated text.
        answer: the right answer, usually a letter.
    """
    choice, letter = text.rpartition(":")[2].strip().upper(), answer.strip().upper()
    return choice == letter or choice.startswith(f"{letter}.")


def contains_answer(text: str, answer: str) -> bool:
    """Whether the answer occurs in a text, in upper or lower case and with any blanks; long texts are favoured.

    Args:
        text: generated text.
        answer: the right answer; a full stop at its end is ignored.
    """
    expected = _normalize(answer)
    return (expected.removesuffix(".") or expected) in _normalize(text)


def _normalize(text: str) -> str:
    return " ".join(text.casefold().split())


RULES: Mapping[str, Callable[[str, str], bool]] = {"option": chooses_option, "contains": contains_answer}
"""Rules of the judges that need generated texts."""
