"""The part that all data modules of questions have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracer_lightning.data.core.datamodule import DataModule
from tracer_lightning.data.core.loader import CountedLoader
from tracer_lightning.data.questions.accumulation import AccumulationLoader
from tracer_lightning.data.questions.conversations import ConversationCollate
from tracer_lightning.types import AnswerTexts, ConversationSpec, QuestionSet


class QuestionsDataModule(DataModule):
    """Data module of conversations for models that answer questions.

    Args:
        spec: input specification of the model.
        loading: further arguments of the next class.

    Raises:
        ValueError: the model does not answer questions.
    """

    spec: ConversationSpec

    def __init__(self, spec: ConversationSpec, **loading: Any) -> None:
        super().__init__(spec, **loading)
        if not isinstance(spec, ConversationSpec):
            raise ValueError(
                "spec must be that of a model that answers questions; choose another backbone, or other data"
            )
        self._collate = ConversationCollate(spec)

    def collate(self) -> ConversationCollate:
        """Conversations to batches for the model's processor."""
        return self._collate

    def train_dataloader(self) -> CountedLoader:
        """Global batches of random order, this rank's share of each, with the number of tokens of accumulated ones."""
        loader, trainer = super().train_dataloader(), self.trainer
        if trainer is None or trainer.accumulate_grad_batches == 1:
            return loader
        return AccumulationLoader(loader, trainer.accumulate_grad_batches, lambda: trainer.num_training_batches)

    def label_names(self, eval_set: QuestionSet) -> list[str]:
        """Distinct answers of an evaluation set."""
        dataset: Any = self.eval_dataset(eval_set)
        names: list[str] = dataset.answers
        return names

    def suite_context(self) -> dict[str, Any]:
        """Texts of generated tokens, and of the answers of evaluation sets."""
        return {"texts": AnswerTexts(self.spec.processor.tokenizer.decode, self.label_names)}


def unknown_words(tokenizer: Any, words: Iterable[str]) -> list[str]:
    """Return the words that a tokenizer replaces by its unknown token, sorted."""
    distinct_words = sorted(set(words))
    if tokenizer.unk_token_id is None or not distinct_words:
        return []
    tokens = tokenizer(distinct_words, add_special_tokens=False).input_ids
    return [word for word, ids in zip(distinct_words, tokens, strict=True) if tokenizer.unk_token_id in ids]
