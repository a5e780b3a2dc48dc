"""Outputs of a model for each image of a set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from tracer_lightning.evaluation.collected import Collected
from tracer_lightning.evaluation.logits import Classifier
from tracer_lightning.types import IGNORE_INDEX, Batch

INDICES = "indices"
Outputs = Mapping[str, Tensor]
"""Outputs (B, ...) for a batch of images by name."""


class CollectedOutputs(Collected):
    """All outputs of a set by name, without padding, in the same order on any number of ranks.

    Args:
        names: names of the outputs.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(*names, INDICES)

    def update(self, outputs: Outputs, indices: Tensor) -> None:
        """Take in outputs (B, ...) and places in the set (B,), -1 for padding."""
        counted = indices != IGNORE_INDEX
        self.append(**{name: values[counted] for name, values in {**outputs, INDICES: indices}.items()})

    def ordered(self) -> dict[str, np.ndarray]:
        """Outputs (N, ...) of all ranks, and their places ``indices`` (N,) in the set, ascending."""
        collected = {name: values.cpu().numpy() for name, values in self.gathered().items()}
        order = collected[INDICES].argsort(kind="stable")
        return {name: values[order] for name, values in collected.items()}


class OutputModule(pl.LightningModule):
    """Collects outputs of a model in one pass: ``trainer.test(OutputModule(...), data)``.

    Args:
        model: the model.
        names: names of the outputs.
        start: from the model, on its device, to the function from images (B, 3, H, W) to their outputs.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str], start: Callable[[Any], Callable[[Tensor], Outputs]]
    ) -> None:
        super().__init__()
        self.model, self._start = model, start
        self._collected = CollectedOutputs(names)
        self._compute: Callable[[Tensor], Outputs] | None = None
        self.outputs: dict[str, np.ndarray] = {}
        """Outputs (N, ...) of the readable images, and their places ``indices`` (N,) in the set."""

    def configure_model(self) -> None:
        """Shard nothing, where the strategy would have one do so: nothing is trained."""

    def on_test_epoch_start(self) -> None:
        """Prepare what is computed once, such as zero-shot heads."""
        with self.trainer.precision_plugin.test_step_context():  # as in the steps, for heads made of texts
            self._compute = self._start(self.model)

    @torch.no_grad()
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Take in a batch."""
        assert self._compute is not None
        self._collected.update(self._compute(batch.images), batch.indices)

    def on_test_epoch_end(self) -> None:
        """Keep the outputs, while they are on the device that ranks exchange them from."""
        self.outputs = self._collected.ordered()


def top_classes(
    prompts: Tensor, zero_shot: bool, count: int, temperature: float
) -> Callable[[Any], Callable[[Tensor], Outputs]]:
    """What :class:`OutputModule` needs for predictions: ``probabilities`` (B, K) and ``classes`` (B, K), descending.

    Args:
        prompts: (C, P, L) tokens of every template for every class.
        zero_shot: whether the model's own head is left aside.
        count: number K of classes, at most C.
        temperature: number that logits are divided by.
    """

    def start(model: Any) -> Callable[[Tensor], Outputs]:
        classifier = Classifier(model, prompts.to(model.logit_scale.device), zero_shot)

        def predict(images: Tensor) -> Outputs:
            probabilities, classes = (classifier(images).float() / temperature).softmax(dim=-1).topk(count)
            return {"probabilities": probabilities, "classes": classes}

        return predict

    return start


def image_features(model: Any) -> Callable[[Tensor], Outputs]:
    """What :class:`OutputModule` needs for embeddings: ``features`` (B, D), normalised."""
    return lambda images: {"features": model.encode_image(images).float()}
