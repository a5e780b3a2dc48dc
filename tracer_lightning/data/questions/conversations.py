"""Conversations about images, and their collation into batches for any processor of ``transformers``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tracer_lightning.types import IGNORE_INDEX, Conversations, ConversationSpec


class Turn(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


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
    """Index of the last answer among the distinct answers of its evaluation set; -1 in training."""
    distractor: str | None = None
    """Wrong answer to the last question whose choice is counted."""


def messages(turns: Sequence[Turn], answered: bool = True) -> list[dict[str, Any]]:
    """Return turns as the messages of a chat template.

    Args:
        turns: questions and answers.
        answered: whether the last answer is part of them.
    """
    listed: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        image = [{"type": "image"}] if number == 0 else []
        listed.append({"role": "user", "content": [*image, {"type": "text", "text": turn.question}]})
        listed.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    return listed if answered else listed[:-1]


class ConversationCollate:
    """Conversations to a batch, whose targets are the tokens of the answers and the ends of their turns.

    An answer is the difference between two texts of the chat template, with and without it. Its tokens are counted
    from the end of the conversation, because processors expand images, which precede all answers, to many tokens.

    Args:
        spec: processor of the model, and length of its context.
    """

    def __init__(self, spec: ConversationSpec) -> None:
        self.processor, self.context_length = spec.processor, spec.context_length

    def __call__(self, conversations: Sequence[Conversation]) -> Conversations:
        """Collate conversations, padded on the right.

        Raises:
            ValueError: a conversation is longer than the context, has no answer, or the chat template rewrites earlier
                turns; the message names the conversation.
        """
        texts = [self._text(conversation.turns) for conversation in conversations]
        images = [[conversation.image] for conversation in conversations]
        inputs = dict(self.processor(images=images, text=texts, padding=True, return_tensors="pt"))
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        targets = torch.full_like(inputs["input_ids"], IGNORE_INDEX)
        distractors = torch.full((len(texts),), IGNORE_INDEX)
        for row, (conversation, text, length) in enumerate(zip(conversations, texts, lengths, strict=True)):
            if length > self.context_length:
                raise ValueError(
                    f"{conversation.origin}: a conversation of {length} tokens, and the model's context has "
                    f"{self.context_length}; shorten it, or leave it out"
                )
            if conversation.position == IGNORE_INDEX:
                continue
            ids = self._tokens(text)
            self._set_targets(targets[row], inputs["input_ids"][row], conversation, ids, length)
            distractors[row] = self._distractor(conversation, ids)
        return Conversations(
            inputs=inputs,
            targets=targets,
            indices=torch.tensor([conversation.position for conversation in conversations]),
            answers=torch.tensor([conversation.answer for conversation in conversations]),
            distractors=distractors,
        )

    def _text(self, turns: Sequence[Turn], answered: bool = True) -> str:
        text: str = self.processor.apply_chat_template(messages(turns, answered), add_generation_prompt=not answered)
        return text

    def _tokens(self, text: str) -> list[int]:
        """Tokens of a text, in which an image is one token or a few."""
        ids: list[int] = self.processor.tokenizer(text).input_ids
        return ids

    def _prefix(self, conversation: Conversation, turns: Sequence[Turn], ids: Sequence[int], answered: bool) -> int:
        """Number of tokens of the first turns, which must begin the conversation's tokens ``ids``."""
        tokens = self._tokens(self._text(turns, answered))
        if list(ids[: len(tokens)]) != tokens:
            name = type(self.processor).__name__
            raise ValueError(
                f"{conversation.origin}: the chat template of {name} gives a conversation that does not begin with "
                "the tokens of its earlier turns, so that its answers can't be told; set another chat template"
            )
        return len(tokens)

    def _set_targets(
        self, targets: Tensor, expanded: Tensor, conversation: Conversation, ids: Sequence[int], length: int
    ) -> None:
        """Set the targets (L,) of one conversation.

        Args:
            targets: targets to set, in place.
            expanded: (L,) tokens as the processor gives them.
            conversation: the conversation.
            ids: its tokens before images are expanded.
            length: number of its expanded tokens.
        """
        shift = length - len(ids)
        for number in range(len(conversation.turns)):
            turns = conversation.turns[: number + 1]
            start = self._prefix(conversation, turns, ids, answered=False)
            end = self._end_of_answer(ids, start, self._prefix(conversation, turns, ids, answered=True))
            answer = torch.tensor(ids[start:end], dtype=expanded.dtype)
            if not len(answer) or not torch.equal(expanded[start + shift : end + shift], answer):
                raise ValueError(
                    f"{conversation.origin}: the answer {turns[-1].answer!r} was not recognised in the conversation's "
                    "tokens; it must have a token, and images must precede it"
                )
            targets[start + shift - 1 : end + shift - 1] = answer

    def _end_of_answer(self, ids: Sequence[int], start: int, end: int) -> int:
        """End of an answer: behind the first token that ends a turn, where generation stops."""
        stop = self.processor.tokenizer.eos_token_id
        return next((place + 1 for place in range(start, end) if ids[place] == stop), end)

    def _distractor(self, conversation: Conversation, ids: Sequence[int]) -> int:
        """First token of the distractor; -1 where there is none, or it begins like the answer."""
        if conversation.distractor is None:
            return IGNORE_INDEX
        start = self._prefix(conversation, conversation.turns, ids, answered=False)
        *earlier, last = conversation.turns
        token = self._tokens(self._text([*earlier, last._replace(answer=conversation.distractor)]))[start]
        return IGNORE_INDEX if token == ids[start] else token
