"""Kinds of questions about drawings of digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tracer_lightning.data.digits.styles import CLASSES
from tracer_lightning.data.questions.conversations import Question
from tracer_lightning.data.questions.drawings import COLOURS

OPTIONS = 4
"""Number of options of a question that lists them."""
DISTRACTOR_SHARE = 0.25
"""Share of questions with options that list a distractor, where it is drawn."""
LOOPS = {0: 1, 6: 1, 8: 2, 9: 1}
PRIMES = (2, 3, 5, 7)


class QuestionKind(NamedTuple):
    """What is asked."""

    wordings: tuple[str, ...]
    """Questions of the same meaning."""
    answer: Callable[[int, int], str]
    """Answer by digit and index of the ink."""
    pool: Sequence[str] = ()
    """Names that the options of the question are drawn from; empty for questions without options."""
    names_digit: bool = False
    """Whether the digit's own name answers the question."""


def _yes(is_true: bool) -> str:
    return "yes" if is_true else "no"


def _parity(digit: int) -> str:
    return "odd" if digit % 2 else "even"


DIGIT = ("which digit is this ?", "what number is shown ?", "name the digit in the picture .")
COLOUR = ("what colour is the digit ?", "which colour has the ink ?")
NEXT = ("which number comes after this digit ?", "what is this digit plus one ?")
KINDS: Mapping[str, QuestionKind] = {
    "digit_or": QuestionKind(DIGIT, lambda digit, ink: CLASSES[digit], CLASSES, names_digit=True),
    "digit": QuestionKind(DIGIT, lambda digit, ink: CLASSES[digit], names_digit=True),
    "colour_or": QuestionKind(COLOUR, lambda digit, ink: COLOURS[ink], COLOURS),
    "colour": QuestionKind(COLOUR, lambda digit, ink: COLOURS[ink]),
    "next_or": QuestionKind(NEXT, lambda digit, ink: CLASSES[(digit + 1) % 10], CLASSES),
    "next": QuestionKind(NEXT, lambda digit, ink: CLASSES[(digit + 1) % 10]),
    "even": QuestionKind(("is the digit even ?", "is it an even number ?"), lambda digit, ink: _yes(digit % 2 == 0)),
    "odd": QuestionKind(("is the digit odd ?", "is it an odd number ?"), lambda digit, ink: _yes(digit % 2 == 1)),
    "larger": QuestionKind(
        ("is the digit larger than five ?", "is the number more than five ?"), lambda digit, ink: _yes(digit > 5)
    ),
    "parity": QuestionKind(("is it even or odd ?",), lambda digit, ink: _parity(digit)),
    "caption": QuestionKind(
        ("describe the picture .",),
        lambda digit, ink: f"{COLOURS[ink]} {CLASSES[digit]} {_parity(digit)}",
        names_digit=True,
    ),
    "prime": QuestionKind(("is the digit prime ?",), lambda digit, ink: _yes(digit in PRIMES)),
    "twice": QuestionKind(
        ("what is twice this digit , last figure only ?",), lambda digit, ink: CLASSES[2 * digit % 10]
    ),
    "loops": QuestionKind(("how many loops has it ?",), lambda digit, ink: CLASSES[LOOPS.get(digit, 0)]),
}
"""Kinds of questions by name; those with options end in ``_or``."""


def words() -> list[str]:
    """All words of questions and answers, sorted."""
    texts = [wording for kind in KINDS.values() for wording in kind.wordings]
    return sorted({word for text in (*texts, *CLASSES, *COLOURS, "yes no even odd") for word in text.split()})


def ask(
    kind: str, digit: int, ink: int, rng: np.random.Generator, wording: int | None, distractor: bool | None
) -> Question:
    """Ask one question about a drawing.

    Its distractor is the digit's name where it is a wrong answer: what a model answers that was tuned to name digits.

    Args:
        kind: name of the kind.
        digit: the digit.
        ink: index of its ink.
        rng: random numbers of wording, options and their order.
        wording: index of the wording, modulo their number; None to draw it.
        distractor: whether the digit's name is among the options of a question that it doesn't answer; None to list it
            in a quarter of the questions. Questions for the digit list a colour instead where it is drawn.
    """
    asked = KINDS[kind]
    text = asked.wordings[rng.integers(len(asked.wordings)) if wording is None else wording % len(asked.wordings)]
    answer, name = asked.answer(digit, ink), CLASSES[digit]
    if not asked.pool:
        return Question(text, answer, None if asked.names_digit else name)
    pool = [option for option in asked.pool if option not in (answer, name)]
    options = [answer, *rng.choice(pool, OPTIONS - 1, replace=False)]
    is_distracted = rng.random() < DISTRACTOR_SHARE if distractor is None else distractor
    if is_distracted and not asked.names_digit:
        options[1] = name
    elif is_distracted and distractor is None:
        options[1] = COLOURS[ink]
    order = rng.permutation(OPTIONS)
    is_listed = name in options and not asked.names_digit
    return Question(f"{text} {' '.join(options[i] for i in order)}", answer, name if is_listed else None)
