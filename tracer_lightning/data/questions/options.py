"""Options of questions, as lines or with letters."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

import numpy as np

from tracer_lightning.data.questions.conversations import Question


def check_options(options: Sequence[str], answer: str, distractor: str | None, origin: str) -> None:
    """Raise ValueError where options, answer and distractor contradict one another.

    Args:
        options: possible answers; none if they are not listed.
        answer: the answer.
        distractor: a wrong answer, which need not be an option.
        origin: location of the question, for messages.
    """
    if duplicates := [option for number, option in enumerate(options) if option in options[:number]]:
        raise ValueError(f"{origin}: two options are {duplicates[0]!r}")
    if options and answer not in options:
        raise ValueError(f"{origin}: the answer {answer!r} is not among the options {', '.join(options)}")
    if options and not 2 <= len(options) <= len(ascii_uppercase):
        raise ValueError(f"{origin}: there must be 2 to {len(ascii_uppercase)} options, got {len(options)}")
    if distractor == answer:
        raise ValueError(f"{origin}: the distractor must be a wrong answer, and {answer!r} is the answer")


def list_options(
    question: str, options: Sequence[str], answer: str, distractor: str | None, rng: np.random.Generator
) -> Question:
    """A question with its options below it, one per line in random order.

    Args:
        question: text of the question.
        options: different options.
        answer: one of the options.
        distractor: wrong answer, which need not be an option.
        rng: random numbers of the order of the options.
    """
    return Question("\n".join((question, *_shuffled(options, rng))), answer, distractor)


def letter_options(
    question: str, options: Sequence[str], answer: str, distractor: str | None, rng: np.random.Generator
) -> Question:
    """A question with lettered options below it, whose answer is a letter.

    The lines are those of ImageWikiQA (He Li et al., 2026, arXiv 2603.14493): ``A. cat``, ``B. dog`` and ``Choose A or
    B.``

    Args:
        question: text of the question.
        options: 2 to 26 different options.
        answer: one of the options.
        distractor: wrong answer, which becomes a letter if it is an option.
        rng: random numbers of the order of the options.
    """
    letter_of = dict(zip(_shuffled(options, rng), ascii_uppercase, strict=False))
    lines = [f"{letter}. {option}" for option, letter in letter_of.items()]
    *letters, last = letter_of.values()
    choice = f"{letters[0]} or {last}" if len(letters) == 1 else f"{', '.join(letters)}, or {last}"
    text = "\n".join((question, *lines, f"Choose {choice}."))
    return Question(text, letter_of[answer], None if distractor is None else letter_of.get(distractor, distractor))


def _shuffled(options: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [options[index] for index in rng.permutation(len(options))]
