"""Conversations about images, and their collation into batches for any processor of ``transformers``."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jinja2 import TemplateError
from torch import Tensor

from tracer_lightning.data.questions.transcripts import ANSWER, Span, Transcript, find_scaffold, find_tokens
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
    """First questions of a conversation, or all."""

    system: str | None
    """System message before them."""
    questions: tuple[str, ...]
    is_answered: bool
    """Whether the last question is answered, rather than its answer asked for."""


class _Tokenized(NamedTuple):
    """Text and tokens of a conversation."""

    text: str
    ids: array[int]
    """Tokens, in which an image is one token or a few."""
    answers: Sequence[Span]
    """First token of each answer, and the one behind its end."""
    distractor: Sequence[int]
    """Tokens of the distractor, with its end only where the answer begins with it; empty where there is none."""


class ConversationCollate:
    """Conversations to a batch, whose targets are the tokens of the answers and their ends.

    In evaluation, they are those of the last answer.

    Texts and places of answers are those of :mod:`tracer_lightning.data.questions.transcripts`; their tokens are found
    by the tokenizer's offsets. Processors expand images, which precede all answers, to many tokens: those from the
    first answer on are looked for at the end.

    Args:
        spec: processor of the model, length of its context, and the tokens that end answers.
    """

    def __init__(self, spec: ConversationSpec) -> None:
        self.processor, self.context_length, self.ends = spec.processor, spec.context_length, spec.ends
        self._ends = self.processor.tokenizer.convert_ids_to_tokens(list(spec.ends))
        self._known: dict[tuple[Any, ...], _Tokenized] = {}
        self._known_tokens = 0

    def __call__(self, conversations: Sequence[Conversation]) -> Conversations:
        """Collate conversations, padded on the right.

        Raises:
            ValueError: a conversation is longer than the context, an answer is empty or has a token that ends answers,
                or the chat template rewrites earlier turns; the message names the conversation.
        """
        tokenized = self._tokenized(conversations)
        images = [[conversation.image] for conversation in conversations]
        texts = [text for text, *_ in tokenized]
        inputs = dict(
            self.processor(images=images, text=texts, padding=True, return_tensors="pt", **self._special_tokens(texts))
        )
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        expanded = inputs["input_ids"].tolist()  # lists, because tensors are slow for a few numbers at a time
        targets = [[IGNORE_INDEX] * len(ids) for ids in expanded]
        first_answers = []
        for row, (conversation, length) in enumerate(zip(conversations, lengths, strict=True)):
            if length > self.context_length:
                raise ValueError(
                    f"{conversation.origin}: a conversation of {length} tokens, and the model's context has "
                    f"{self.context_length}; shorten it, give images fewer pixels (max_pixels), or leave it out"
                )
            answers = _shifted_answers(tokenized[row], expanded[row][:length], conversation.origin)
            first_answers.append(answers[0][0])
            if conversation.position != IGNORE_INDEX:
                is_evaluated = conversation.answer != IGNORE_INDEX
                for start, end in answers[-1:] if is_evaluated else answers:
                    targets[row][start - 1 : end - 1] = expanded[row][start:end]
        if inputs.pop("labels", None) is not None:  # of a model that reads questions in both directions
            _mark_suffixes(inputs, first_answers)
        return Conversations(
            inputs=inputs,
            targets=torch.tensor(targets),
            indices=torch.tensor([conversation.position for conversation in conversations]),
            answers=torch.tensor([conversation.answer for conversation in conversations]),
            distractors=_padded([each.distractor for each in tokenized]),
            unreadable=tuple(location for conversation in conversations for location in conversation.unreadable),
        )

    def _special_tokens(self, texts: Sequence[str]) -> dict[str, bool]:
        """Argument of the tokenizer against a second token at the beginning, where the chat template writes one."""
        beginning = self.processor.tokenizer.bos_token
        return {"add_special_tokens": False} if beginning and texts[0].startswith(beginning) else {}

    def _tokenized(self, conversations: Sequence[Conversation]) -> list[_Tokenized]:
        """Texts and tokens of conversations; the last few are kept, because evaluations repeat."""
        keys = [(each.turns, each.distractor, each.system) for each in conversations]
        by_key = dict(zip(keys, conversations, strict=True))
        unknown = {key: conversation for key, conversation in by_key.items() if key not in self._known}
        if unknown and (len(self._known) + len(unknown) > KEPT or self._known_tokens > KEPT_TOKENS):
            self._known, self._known_tokens, unknown = {}, 0, by_key
        if unknown:
            self._known |= zip(unknown, self._tokenize(list(unknown.values())), strict=True)
            self._known_tokens += sum(len(self._known[key].ids) for key in unknown)
        return [self._known[key] for key in keys]

    def _tokenize(self, conversations: Sequence[Conversation]) -> Iterator[_Tokenized]:
        """Texts and tokens of conversations, by few calls for all, because calls for each are much slower."""
        rendered = self._render_all(conversations)
        transcripts = [
            (conversation, self._write(conversation, answers, rendered))
            for conversation in conversations
            for answers in _alternatives(conversation)
        ]
        texts = [transcript.text for _, transcript in transcripts]
        tokens = self.processor.tokenizer(texts, return_offsets_mapping=True, **self._special_tokens(texts))
        tokenized = iter(
            (transcript.text, ids, self._find_answers(conversation, transcript, ids, offsets))
            for (conversation, transcript), ids, offsets in zip(
                transcripts, tokens.input_ids, tokens.offset_mapping, strict=True
            )
        )
        for conversation in conversations:
            text, ids, answers = next(tokenized)
            distractor: Sequence[int] = ()
            if conversation.distractor is not None:
                _, others, alternatives = next(tokenized)
                distractor = _distinctive(others[slice(*alternatives[-1])], ids[slice(*answers[-1])])
            yield _Tokenized(text, array("i", ids), answers, distractor)

    def _render_all(self, conversations: Sequence[Conversation]) -> dict[_Beginning, str]:
        """All beginnings of conversations; ValueError names the one that the chat template refuses."""
        try:
            return self._render(beginning for each in conversations for beginning in _beginnings(each))
        except (TemplateError, TypeError) as error:  # TypeError of templates for contents that are texts
            if len(conversations) > 1:  # one of them is refused alone, too
                return {key: text for each in conversations for key, text in self._render_all([each]).items()}
            (refused,) = conversations
            remedy = "remove its system message, or " if refused.system else ""
            raise ValueError(
                f"{refused.origin}: the chat template refuses the conversation: {error}; {remedy}set chat_template to "
                "a file with another template"
            ) from error

    def _render(self, beginnings: Iterable[_Beginning]) -> dict[_Beginning, str]:
        """Texts of the chat template, in which answers are :data:`ANSWER`."""
        distinct = list(dict.fromkeys(beginnings))
        rendered: dict[_Beginning, str] = {}
        for is_answered in (True, False):
            alike = [beginning for beginning in distinct if beginning.is_answered == is_answered]
            turns = [[Turn(question, ANSWER) for question in beginning.questions] for beginning in alike]
            texts = self.processor.apply_chat_template(
                [messages(each, is_answered, key.system) for key, each in zip(alike, turns, strict=True)],
                add_generation_prompt=not is_answered,
            )
            rendered |= zip(alike, texts, strict=True)
        return rendered

    def _write(
        self, conversation: Conversation, answers: Sequence[str], rendered: Mapping[_Beginning, str]
    ) -> Transcript:
        """Text of a conversation with these answers."""
        conversed, *prompts = (rendered[beginning] for beginning in _beginnings(conversation))
        try:
            scaffold = find_scaffold(conversed, prompts)
        except ValueError as error:
            raise ValueError(
                f"{conversation.origin}: {error}, so that its answers can't be told; set chat_template to a file with "
                "another template"
            ) from error
        return scaffold.fill_in(answers, self._ends)

    def _find_answers(
        self, conversation: Conversation, transcript: Transcript, ids: Sequence[int], offsets: Sequence[Span]
    ) -> list[Span]:
        """Tokens of each answer; ValueError unless each has one end, and tokens before it."""
        spans = []
        for span in transcript.answers:
            try:
                start, end = find_tokens(transcript.text, span, offsets)
            except ValueError as error:
                raise ValueError(f"{conversation.origin}: {error}; change the answer") from error
            if ends := set(ids[start : end - 1]) & set(self.ends):
                token = self.processor.tokenizer.convert_ids_to_tokens(ends.pop())
                raise ValueError(f"{conversation.origin}: an answer contains {token}, which ends answers; remove it")
            if end - start < 2 or ids[end - 1] not in self.ends:
                raise ValueError(
                    f"{conversation.origin}: an answer was not recognised in the conversation's tokens; it must have a "
                    "token beside its end"
                )
            spans.append((start, end))
        return spans


def _beginnings(conversation: Conversation) -> Iterator[_Beginning]:
    """The whole conversation, and what asks for each of its answers."""
    questions = tuple(turn.question for turn in conversation.turns)
    yield _Beginning(conversation.system, questions, True)
    for number in range(1, len(questions) + 1):
        yield _Beginning(conversation.system, questions[:number], False)


def _alternatives(conversation: Conversation) -> Iterator[list[str]]:
    """The answers of a conversation, and these with the distractor as the last one, if there is one."""
    answers = [turn.answer for turn in conversation.turns]
    yield answers
    if conversation.distractor is not None:
        yield [*answers[:-1], conversation.distractor]


def _distinctive(distractor: Sequence[int], answer: Sequence[int]) -> Sequence[int]:
    """The tokens of a distractor without its end, or with it where the answer begins with them; none if both are equal.

    Args:
        distractor: tokens of the distractor, whose last one ends it.
        answer: tokens of the answer, whose last one ends it.
    """
    end = len(distractor) - 1
    if distractor[:end] == answer[:end]:
        end += 1
    return () if distractor[:end] == answer[:end] else distractor[:end]


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of unequal lengths as a tensor, filled up with -1."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[IGNORE_INDEX] * (width - len(row))] for row in rows], dtype=torch.long)


def _shifted_answers(tokenized: _Tokenized, expanded: Sequence[int], origin: str) -> list[Span]:
    """Places of the answers of one conversation in its tokens as the processor gives them.

    Args:
        tokenized: tokens before images are expanded.
        expanded: tokens as the processor gives them, without padding; some may follow the conversation.
        origin: where the conversation comes from, for errors.
    """
    first = tokenized.answers[0][0]
    known = tokenized.ids[first:].tolist()
    for place in range(len(expanded) - len(known), 0, -1):
        if expanded[place : place + len(known)] == known:
            return [(start + place - first, end + place - first) for start, end in tokenized.answers]
    raise ValueError(f"{origin}: answers were not recognised in the conversation's tokens; images must precede them")


def _mark_suffixes(inputs: dict[str, Tensor], first_answers: Sequence[int]) -> None:
    """Let only tokens from the first answer on attend to none behind them, in models such as PaliGemma.

    Their processors return labels and mark a suffix that they are given; they would show answers to their own tokens.

    Args:
        inputs: inputs of the model, whose ``token_type_ids`` (B, L) are replaced: 1 for the suffix, else 0.
        first_answers: B places of the first tokens of the first answers.
    """
    places = torch.arange(inputs["input_ids"].shape[1])
    inputs["token_type_ids"] = (places >= torch.tensor(first_answers)[:, None]).long()
