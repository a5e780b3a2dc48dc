"""Rules by which a generated text is a right answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

Judge = Literal["exact", "option", "contains"]
"""``exact``: the answer, and nothing else, in one forward pass without generation. Others: see :data:`RULES`."""


class Rule(NamedTuple):
    """A comparison of what is read once in each generated text, and once in each answer."""

    read_text: Callable[[str], str]
    """From a generated text to what is compared."""
    read_answer: Callable[[str], str]
    """From an answer to what is compared."""
    agree: Callable[[str, str], bool]
    """Whether what was read in a text gives what was read in an answer."""

    def __call__(self, text: str, answer: str) -> bool:
        """Whether a generated text gives an answer."""
        return self.agree(self.read_text(text), self.read_answer(answer))


def _choice(text: str) -> str:
    return _letter(text.rpartition(":")[2])


def _letter(answer: str) -> str:
    return answer.strip().upper()


def _begins_with_letter(choice: str, letter: str) -> bool:
    return choice == letter or choice.startswith(f"{letter}.")


def _normalized(text: str) -> str:
    return " ".join(text.casefold().split())


def _expected(answer: str) -> str:
    expected = _normalized(answer)
    return expected.removesuffix(".") or expected


def _contains(text: str, expected: str) -> bool:
    return expected in text


chooses_option = Rule(_choice, _letter, _begins_with_letter)
"""Whether a text chooses an option by its letter: ``C``, ``c.``, ``C. stretcher`` or ``Answer: C``.

The text after the last colon, stripped and in upper case, must be the answer or begin with it and a full stop, as in
the released code of He Li et al. (2026, arXiv 2603.14493). ``The answer is C`` does not count.
"""
contains_answer = Rule(_normalized, _expected, _contains)
"""Whether the answer occurs in a text, in upper or lower case and with any blanks; long texts are favoured.

A full stop at the end of the answer is ignored.
"""
RULES: Mapping[str, Rule] = {"option": chooses_option, "contains": contains_answer}
"""Rules of the judges that need generated texts."""
