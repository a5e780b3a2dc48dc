"""Conversations about images, and their collation into batches for any processor of ``transformers``."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jinja2 import TemplateError
from torch import Tensor

from tracer_lightning.types import IGNORE_INDEX, Conversations, ConversationSpec

KEPT, KEPT_TOKENS = 1 << 16, 1 << 22
"""Maximum number of conversations that are kept, and number of their tokens beyond which all are dropped: 40 MB of
conversations of 600 tokens."""


class Turn(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


class Question(NamedTuple):
    """A question with its options, its answer and perhaps a distractor."""

    text: str
    answer: str
    distractor: str | None = None
    """Wrong answer whose choice is counted."""


class Conversation(NamedTuple):
    """A conversation about one image."""

    image: Any
    """(3, H, W) uint8, or a PIL image."""
    turns: tuple[Turn, ...]
    """Questions with their answers; the image precedes the first question."""
    position: int
    """Position in its data set; -1 for padding, whose answers are not counted."""
    origin: str
    """Where it comes from, for errors."""
    answer: int = IGNORE_INDEX
    """Index of the last answer, the only one that counts then, among the distinct answers of its evaluation set; -1 in
    training."""
    distractor: str | None = None
    """Wrong answer to the last question whose choice is counted."""
    unreadable: tuple[str, ...] = ()
    """Locations of unreadable images in whose place it is, each with the reason."""
    system: str | None = None
    """System message before the first question."""


def messages(turns: Sequence[Turn], answered: bool = True, system: str | None = None) -> list[dict[str, Any]]:
    """Return turns as the messages of a chat template.

    Args:
        turns: questions and answers.
        answered: whether the last answer is part of them.
        system: system message before them.
    """
    listed: list[dict[str, Any]] = []
    if system is not None:
        listed.append({"role": "system", "content": [{"type": "text", "text": system}]})
    for number, turn in enumerate(turns):
        image = [{"type": "image"}] if number == 0 else []
        listed.append({"role": "user", "content": [*image, {"type": "text", "text": turn.question}]})
        listed.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    return listed if answered else listed[:-1]


class _Beginning(NamedTuple):
    """First turns of a conversation, or all."""

    turns: tuple[Turn, ...]
    is_answered: bool
    """Whether the last answer is part of them."""
    system: str | None
    """System message before them."""


class _Rendered(NamedTuple):
    """Text of the chat template, with its tokens."""

    text: str
    ids: list[int]


class _Tokenized(NamedTuple):
    """Text and tokens of a conversation."""

    text: str
    ids: array[int]
    """Tokens, in which an image is one token or a few."""
    answers: Sequence[tuple[int, int]]
    """Start and end in ``ids`` of each answer."""
    distractor: Sequence[int]
    """Tokens of the distractor, with its end only where the answer begins with it; empty where there is none."""


class ConversationCollate:
    """Conversations to a batch, whose targets are the tokens of the answers and the ends of their turns.

    In evaluation, they are those of the last answer.

    An answer is the difference between two texts of the chat template, with and without it. Its tokens are counted
    from the end of the conversation, because processors expand images, which precede all answers, to many tokens.

    Args:
        spec: processor of the model, and length of its context.
    """

    def __init__(self, spec: ConversationSpec) -> None:
        self.processor, self.context_length = spec.processor, spec.context_length
        self._known: dict[tuple[Any, ...], _Tokenized] = {}
        self._known_tokens = 0
        added = spec.processor.tokenizer.added_tokens_decoder
        self._special = {token for token, properties in added.items() if properties.special}

    def __call__(self, conversations: Sequence[Conversation]) -> Conversations:
        """Collate conversations, padded on the right.

        Raises:
            ValueError: a conversation is longer than the context, has no answer, or the chat template rewrites earlier
                turns; the message names the conversation.
        """
        tokenized = self._tokenized(conversations)
        images = [[conversation.image] for conversation in conversations]
        texts = [text for text, *_ in tokenized]
        inputs = dict(self.processor(images=images, text=texts, padding=True, return_tensors="pt"))
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        expanded = inputs["input_ids"].tolist()  # lists, because tensors are slow for a few numbers at a time
        targets = [[IGNORE_INDEX] * len(ids) for ids in expanded]
        for row, (conversation, length) in enumerate(zip(conversations, lengths, strict=True)):
            if length > self.context_length:
                raise ValueError(
                    f"{conversation.origin}: a conversation of {length} tokens, and the model's context has "
                    f"{self.context_length}; shorten it, or leave it out"
                )
            if conversation.position != IGNORE_INDEX:
                is_evaluated = conversation.answer != IGNORE_INDEX
                answers = tokenized[row].answers[-1:] if is_evaluated else tokenized[row].answers
                parts = tokenized[row]._replace(answers=answers)
                _set_targets(targets[row], expanded[row], parts, length, conversation.origin)
        return Conversations(
            inputs=inputs,
            targets=torch.tensor(targets),
            indices=torch.tensor([conversation.position for conversation in conversations]),
            answers=torch.tensor([conversation.answer for conversation in conversations]),
            distractors=_padded([each.distractor for each in tokenized]),
            unreadable=tuple(location for conversation in conversations for location in conversation.unreadable),
        )

    def _tokenized(self, conversations: Sequence[Conversation]) -> list[_Tokenized]:
        """Texts and tokens of conversations; the last few are kept, because evaluations repeat."""
        keys = [(each.turns, each.distractor, each.system) for each in conversations]
        by_key = dict(zip(keys, conversations, strict=True))
        unknown = {key: conversation for key, conversation in by_key.items() if key not in self._known}
        if unknown and (len(self._known) + len(unknown) > KEPT or self._known_tokens > KEPT_TOKENS):
            self._known, self._known_tokens, unknown = {}, 0, by_key
        if unknown:
            rendered = self._render_all(list(unknown.values()))
            tokenized = {key: self._tokenize(conversation, rendered) for key, conversation in unknown.items()}
            self._known |= tokenized
            self._known_tokens += sum(len(each.ids) for each in tokenized.values())
        return [self._known[key] for key in keys]

    def _render_all(self, conversations: Sequence[Conversation]) -> dict[_Beginning, _Rendered]:
        """All beginnings of conversations; ValueError names the one that the chat template refuses."""
        try:
            return self._render(beginning for each in conversations for beginning in _beginnings(each))
        except TemplateError as error:
            if len(conversations) > 1:  # one of them is refused alone, too
                return {key: text for each in conversations for key, text in self._render_all([each]).items()}
            (refused,) = conversations
            remedy = "remove its system message" if refused.system else "set another chat template"
            raise ValueError(
                f"{refused.origin}: the chat template refuses the conversation: {error}; {remedy}"
            ) from error

    def _render(self, beginnings: Iterable[_Beginning]) -> dict[_Beginning, _Rendered]:
        """Apply chat template and tokenizer to many beginnings at once, because calls for each are much slower."""
        distinct = list(dict.fromkeys(beginnings))
        rendered: dict[_Beginning, _Rendered] = {}
        for is_answered in (True, False):
            alike = [beginning for beginning in distinct if beginning.is_answered == is_answered]
            texts = self.processor.apply_chat_template(
                [messages(beginning.turns, is_answered, beginning.system) for beginning in alike],
                add_generation_prompt=not is_answered,
            )
            tokens = self.processor.tokenizer(texts).input_ids
            rendered |= zip(alike, map(_Rendered, texts, tokens), strict=True)
        return rendered

    def _tokenize(self, conversation: Conversation, rendered: Mapping[_Beginning, _Rendered]) -> _Tokenized:
        turns, system = conversation.turns, conversation.system
        text, ids = rendered[_Beginning(turns, True, system)]
        answers = []
        for number in range(1, len(turns) + 1):
            start, end = (
                self._count(conversation, ids, rendered[_Beginning(turns[:number], is_answered, system)].ids)
                for is_answered in (False, True)
            )
            answers.append((start, self._end_of_turn(ids, start, end)))
        distractor: Sequence[int] = ()
        if conversation.distractor is not None:
            start, end = answers[-1]
            wrong = rendered[_with_answer(conversation, conversation.distractor)].ids[start:]
            distractor = self._distinctive(wrong, ids[start:end])
        return _Tokenized(text, array("i", ids), tuple(answers), distractor)

    def _count(self, conversation: Conversation, ids: Sequence[int], beginning: Sequence[int]) -> int:
        """Number of tokens of a beginning, which must begin the conversation's tokens ``ids``."""
        if ids[: len(beginning)] != beginning:
            name = type(self.processor).__name__
            raise ValueError(
                f"{conversation.origin}: the chat template of {name} gives a conversation that does not begin with "
                "the tokens of its earlier turns, so that its answers can't be told; set another chat template"
            )
        return len(beginning)

    def _distinctive(self, distractor: Sequence[int], answer: Sequence[int]) -> Sequence[int]:
        """The tokens of a distractor without its end, or with it where the answer begins with them; none if equal."""
        end = next((place for place, token in enumerate(distractor) if token in self._special), len(distractor))
        if distractor[:end] == answer[:end]:
            end += 1
        return () if distractor[:end] == answer[:end] else distractor[:end]

    def _end_of_turn(self, ids: Sequence[int], start: int, end: int) -> int:
        """End of an answer: behind the first token that ends a turn, where generation stops."""
        stop = self.processor.tokenizer.eos_token_id
        return next((place + 1 for place in range(start, end) if ids[place] == stop), end)


def _beginnings(conversation: Conversation) -> Iterator[_Beginning]:
    """What is tokenized to find a conversation's answers and its distractor."""
    turns = conversation.turns
    for number in range(1, len(turns) + 1):
        for is_answered in (False, True):
            yield _Beginning(turns[:number], is_answered, conversation.system)
    if conversation.distractor is not None:
        yield _with_answer(conversation, conversation.distractor)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of unequal lengths as a tensor, filled up with -1."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[IGNORE_INDEX] * (width - len(row))] for row in rows], dtype=torch.long)


def _with_answer(conversation: Conversation, answer: str) -> _Beginning:
    """The conversation with another last answer."""
    *earlier, last = conversation.turns
    return _Beginning((*earlier, last._replace(answer=answer)), True, conversation.system)


def _set_targets(targets: list[int], expanded: Sequence[int], tokenized: _Tokenized, length: int, origin: str) -> None:
    """Set the targets of one conversation.

    Args:
        targets: L targets to set, in place.
        expanded: L tokens as the processor gives them.
        tokenized: tokens before images are expanded.
        length: number of expanded tokens.
        origin: where the conversation comes from, for errors.
    """
    shift = length - len(tokenized.ids)
    for start, end in tokenized.answers:
        answer = tokenized.ids[start:end].tolist()
        if not answer or expanded[start + shift : end + shift] != answer:
            raise ValueError(
                f"{origin}: an answer was not recognised in the conversation's tokens; it must have a token, and "
                "images must precede it"
            )
        targets[start + shift - 1 : end + shift - 1] = answer
