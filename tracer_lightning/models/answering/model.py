"""Models that answer questions about images, behind the interface of all models."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tracer_lightning.models.answering.parts import HEAD, PARTS, check_parts, find_part
from tracer_lightning.models.answering.prompts import IDS, prompts
from tracer_lightning.models.model import Backbone, Model
from tracer_lightning.models.sharding import is_sharded
from tracer_lightning.types import IGNORE_INDEX, AnswerLogits, Conversations

TO_KEEP = "logits_to_keep"
"""Argument of models of ``transformers`` for the positions whose logits are computed."""
UPDATE = ".lora_A."
"""Part of the names of the factors of low-rank updates of ``peft``."""
GREEDY: Mapping[str, Any] = {
    **{"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0},
    **{"temperature": None, "top_k": None, "top_p": None},
}
"""Arguments of generation that always takes the most probable token, whatever the model's own defaults are."""
FOLDER, HUB = "local-dir:", "hf-hub:"
"""Prefixes of the addresses of exported models."""


class AnsweringModel(Model):
    """An image-text-to-text model of ``transformers`` that returns :class:`AnswerLogits`.

    Its parts are the ``image`` tower, the ``connector`` that projects image features to tokens, the ``text`` model
    with its output layer, and the ``head``. With a head the text model is not used: the head predicts the tokens of
    the answer from the mean feature of the image tower, to pretrain the tower.

    Args:
        model: image-text-to-text model.
        parts: components of parameter names by part, ``image`` and ``connector``; None for those of known models.

    Raises:
        ValueError: no parameter belongs to the image tower.
    """

    features = AnswerLogits
    targets = frozenset({"targets", "sample", "tokens"})
    parts = PARTS
    weights_prefix = "model."
    called_from_outside = ("answer",)
    export_format = "transformers"
    model: Any

    def __init__(self, model: nn.Module, parts: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__()
        self._pieces = check_parts([name for name, _ in model.named_parameters()], parts)
        self.model = model.train()  # pretrained models are loaded in evaluation mode
        self._selects_positions = TO_KEEP in inspect.signature(type(model).forward).parameters

    def part_of(self, name: str) -> str:  # type: ignore[override]  # names of parts may belong to the instance
        """The part that a parameter of this name belongs to."""
        return HEAD if name.startswith("head.") else find_part(name, self._pieces)

    def check_reads(self, reads: Collection[str]) -> None:
        """Raise ValueError where trained parts don't influence the logits."""
        trained = {self.part_of(name) for name, parameter in self.named_parameters() if parameter.requires_grad}
        if self.head is not None and (unused := sorted(trained - {"image", HEAD})):
            raise ValueError(
                f"{' and '.join(unused)} can't be trained, because the head reads the image tower alone; train only "
                "image and head, or remove the head"
            )

    def forward(self, batch: Conversations, reads: Collection[str]) -> AnswerLogits:
        """Logits at the answered positions of this rank.

        Args:
            batch: this rank's share of the global batch.
            reads: fields that losses read; all are given.
        """
        del reads
        answers = AnsweringModel.answer(self, batch)  # sharding wraps the bound method for calls from outside
        return answers._replace(tokens=_mean_over_ranks(answers.tokens))

    def answer(self, batch: Conversations) -> AnswerLogits:
        """Logits at the answered positions of a batch; ``tokens`` are this rank's own."""
        answered = batch.targets != IGNORE_INDEX  # (B, L)
        rows, columns = answered.nonzero(as_tuple=True)  # (T,) each; a GPU is waited for once
        if self.head is None:
            logits = self._text_logits(batch, rows, columns)
        else:
            logits = self._head_logits(batch, rows, (answered.cumsum(1) - 1)[rows, columns])
        targets = batch.targets[rows, columns]
        count = len(targets) if batch.step_tokens is None else batch.step_tokens
        tokens = targets.new_full((), count, dtype=torch.float32)
        return AnswerLogits(logits.float(), targets, rows, tokens)

    def _text_logits(self, batch: Conversations, rows: Tensor, columns: Tensor) -> Tensor:
        """(T, V) logits of the text model at T positions; others are not computed where the model allows it."""
        if not self._selects_positions:
            logits: Tensor = self.model(**batch.inputs, use_cache=False).logits
            return logits[rows, columns]
        kept, places = torch.unique(columns, return_inverse=True)
        logits = self.model(**batch.inputs, use_cache=False, **{TO_KEEP: kept}).logits  # (B, kept columns, V)
        return logits[rows, places]

    def _head_logits(self, batch: Conversations, rows: Tensor, place: Tensor) -> Tensor:
        """(T, V) logits of the head, which has V outputs for each of the places (T,) in an answer."""
        assert self.head is not None
        tower = self.model.get_encoder(modality="image")
        features = tower(batch.inputs["pixel_values"]).last_hidden_state[:, 1:].mean(1)  # without the class token
        vocabulary = self.model.config.get_text_config().vocab_size
        positions = self.head(features).view(len(features), -1, vocabulary)  # (B, positions, V)
        if len(place) and int(place.max()) >= positions.shape[1]:
            raise ValueError(
                f"an answer has {int(place.max()) + 1} tokens, and the head predicts {positions.shape[1]}; make a head "
                "for more positions"
            )
        logits: Tensor = positions[rows, place]
        return logits

    @torch.no_grad()
    def generate(self, batch: Conversations, max_new_tokens: int) -> Tensor:
        """(B, N) tokens of an answer to each question, generated greedily, with padding behind its end.

        Args:
            batch: conversations; of several answers with targets, the first one is generated.
            max_new_tokens: maximum number of tokens of an answer.
        """
        if self.head is not None:
            raise ValueError("a head predicts given answers only; remove it to generate answers")
        if is_sharded(self):
            raise ValueError(
                "judge must be exact for a sharded model, since the generated answers of ranks end at different "
                "lengths; or use DDP instead of FSDP"
            )
        padding = self._padding_token()
        inputs = prompts(batch, padding)
        tokens: Tensor = self.model.generate(
            **inputs, max_new_tokens=max_new_tokens, pad_token_id=padding, use_cache=True, **GREEDY
        )
        return tokens[:, inputs[IDS].shape[1] :]

    def _padding_token(self) -> int:
        text_config, defaults = self.model.config.get_text_config(), self.model.generation_config
        candidates = (text_config.pad_token_id, defaults.pad_token_id, defaults.eos_token_id)
        token = next((token for token in candidates if token is not None), 0)
        return int(token[0] if isinstance(token, list) else token)

    # -- training ---------------------------------------------------------------------------------------------------

    def checkpoint_activations(self) -> None:
        """Recompute the blocks' activations in the backward pass instead of keeping them."""
        # the former name, the only one in older versions of transformers, warns
        enable = (
            getattr(self.model, "activation_checkpointing_enable", None) or self.model.gradient_checkpointing_enable
        )
        enable({"use_reentrant": False})

    def blocks(self) -> Iterator[nn.Module]:
        """The layers of the image tower and of the text model."""
        names = set(getattr(self.model, "_no_split_modules", None) or ())
        return (module for module in self.modules() if type(module).__name__ in names)

    def check_merged_averages(self) -> None:
        """Raise ValueError where there are low-rank updates of ``peft``, which are layers."""
        if any(UPDATE in name for name, _ in self.named_parameters()):
            raise ValueError(
                "lora_space must be factors: the low-rank updates are layers of the peft library, whose products a "
                "teacher can't average"
            )

    @torch.no_grad()
    def merge_updates(self) -> None:
        """Replace layers that have low-rank updates of ``peft`` by layers with the updated weights, in place."""
        for name, layer in list(self.model.named_modules()):
            if hasattr(layer, "get_base_layer") and hasattr(layer, "merge"):
                layer.merge()
                owner, _, attribute = name.rpartition(".")
                setattr(self.model.get_submodule(owner), attribute, layer.get_base_layer())

    # -- files ------------------------------------------------------------------------------------------------------

    def convert_weights(self, state: dict[str, Tensor], where: str, resized: bool) -> dict[str, Tensor]:
        """The weights as they are; ValueError for low-rank updates that this model lacks: their factor is unknown."""
        del resized
        if any(UPDATE in name for name in state) and not any(UPDATE in name for name in self.state_dict()):
            raise ValueError(
                f"{where}: the weights have low-rank updates, and this model has none; export the run, which merges "
                "them, and load the exported folder as the pretrained model"
            )
        return state

    def export(self, backbone: Backbone, folder: Path) -> None:
        """Write weights, with low-rank updates merged, configuration and processor, as ``transformers`` loads them."""
        self.merge_updates()
        self.model.save_pretrained(folder)
        backbone.spec.processor.save_pretrained(folder)

    def loading_code(self, address: str) -> str:
        """The call of ``transformers`` that loads an exported model."""
        name = address.removeprefix(FOLDER).removeprefix(HUB)
        return f'transformers.AutoModelForImageTextToText.from_pretrained("{name}")'


def _mean_over_ranks(count: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return count
    total = count.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
