"""Texts of conversations with the places of their answers, from texts of a chat template.

A conversation is trained as it is generated: each answer follows the text with which the template asks for it, and ends
with a token at which generation stops. Templates may write neither into a finished conversation: that of LLaVA-1.5 has
no end, and that of LLaVA-OneVision heads answers by another blank than it asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

ANSWER = "\ue000answer\ue001"
"""Stands for an answer when a chat template is applied; of characters for private use, which questions don't have."""
Span = tuple[int, int]
"""Start and end, exclusive."""


class Transcript(NamedTuple):
    """Text of a conversation."""

    text: str
    answers: tuple[Span, ...]
    """Characters of each answer, of the blanks before it and of its end."""


class Scaffold(NamedTuple):
    """What a chat template writes around the answers of a conversation."""

    prompts: tuple[str, ...]
    """For each answer, the text that asks for it, from the end of the answer before."""
    blanks: tuple[str, ...]
    """For each answer, what precedes it behind the prompt, such as a blank."""
    closing: str
    """Text behind the last answer."""

    def fill_in(self, answers: Sequence[str], ends: Sequence[str]) -> Transcript:
        """Insert answers, each with an end: that of the template where it has one, else the first.

        Args:
            answers: as many answers as there are prompts; blanks around them are dropped.
            ends: texts of the tokens at which generation stops.
        """
        own = _first_end(self.closing, ends)
        text, spans = self.prompts[0], []
        for answer, blank, following in zip(answers, self.blanks, (*self.prompts[1:], self.closing), strict=True):
            start = len(text)
            text += blank + answer.strip()
            if own and following.startswith(own):
                end, rest = own, following.removeprefix(own)
            else:
                end, rest = ends[0], following.lstrip(" ")
            text += end
            spans.append((start, len(text)))
            text += rest
        return Transcript(text, tuple(spans))


def _first_end(closing: str, ends: Sequence[str]) -> str:
    """The text behind an answer up to its end; empty where it has none."""
    places = [(closing.find(end), end) for end in ends if end in closing]
    if not places:
        return ""
    place, end = min(places)
    return closing[: place + len(end)]


def find_scaffold(conversation: str, prompts: Sequence[str]) -> Scaffold:
    """Find what a template writes around answers.

    Args:
        conversation: text of a conversation, with :data:`ANSWER` for each answer.
        prompts: for each answer, the text that asks for it, with :data:`ANSWER` for those before.

    Raises:
        ValueError: the template leaves answers out, or asks for one by a text that the conversation does not have.
    """
    *openings, closing = conversation.split(ANSWER)
    if len(openings) != len(prompts):
        raise ValueError(f"the chat template writes {len(openings)} of {len(prompts)} answers")
    asked, blanks = [], []
    before = ""
    for opening, prompt in zip(openings, prompts, strict=True):
        asking = prompt.removeprefix(before)
        is_same = opening.startswith(asking)
        if not prompt.startswith(before) or not (is_same or _without_blanks(opening) == _without_blanks(asking)):
            raise ValueError(
                "the chat template asks for an answer by a text with which the finished conversation does not begin"
            )
        asked.append(asking)
        blanks.append(opening.removeprefix(asking) if is_same else "")
        before += opening + ANSWER
    return Scaffold(tuple(asked), tuple(blanks), closing)


def _without_blanks(text: str) -> str:
    return "".join(text.split())


def find_tokens(text: str, span: Span, offsets: Sequence[Span]) -> Span:
    """Return the first token of a part of a text, and the one behind the last.

    Args:
        text: the text.
        span: characters of the part.
        offsets: characters of each token of the text, without the blanks before it in some tokenizers.

    Raises:
        ValueError: no token is in the part, or the first has other characters than blanks before it, too.
    """
    start, end = span
    first = next((place for place, (_, stop) in enumerate(offsets) if stop > start), len(offsets))
    last = first
    while last < len(offsets) and offsets[last][0] < end and offsets[last][1] > start:
        last += 1
    if first == last or text[offsets[first][0] : start].strip():
        raise ValueError("an answer begins within a token of the text that asks for it")
    return first, last
