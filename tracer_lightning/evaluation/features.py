"""Extracting features of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tracer_lightning.evaluation.collected import Collected
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.types import IGNORE_INDEX, Batch


class ImageFeatures(NamedTuple):
    """Features of a data set in its own order, on the CPU."""

    images: Tensor
    """(N, D), normalised."""
    labels: Tensor
    """(N,) class indices."""


class CollectedFeatures(Collected):
    """All features (N, D) and labels (N,) of a data set, without padding, in the same order on any number of ranks."""

    def __init__(self) -> None:
        super().__init__("images", "labels", "indices")

    def update(self, images: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Take in features (B, D), labels (B,), -1 for padding, and places in the data set (B,)."""
        counted = labels != IGNORE_INDEX
        self.append(images=images[counted], labels=labels[counted], indices=indices[counted])

    def ordered(self) -> ImageFeatures:
        """Features of all ranks."""
        images, labels, indices = (values.cpu() for values in self.gathered().values())
        order = indices.argsort(stable=True)
        return ImageFeatures(images[order], labels[order])


class FeatureModule(pl.LightningModule):
    """Collects features of several models in one pass: ``trainer.test(FeatureModule(...), data)``.

    Args:
        models: name to model.
        names: of the data sets, in the order of their loaders.
        prompts: (C, P, L) tokens of every template for every training class.
        own_prompts: (C', P', L') tokens for each set with classes of its own, by its name.
    """

    prompts: Tensor

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        names: Sequence[str],
        prompts: Tensor,
        own_prompts: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        for name in names:
            if list(names).count(name) > 1:
                raise ValueError(f"names must be distinct, got {name} twice; rename one")
        self.models = nn.ModuleDict(models)
        self.names = tuple(names)
        self.register_buffer("prompts", prompts, persistent=False)
        self._own_prompts = own_prompts or {}
        self._collected = nn.ModuleDict({model: nn.ModuleList(CollectedFeatures() for _ in names) for model in models})
        self.texts: dict[str, Tensor] = {}
        """Model to (C, D), its zero-shot head of the training classes."""
        self.own_texts: dict[str, dict[str, Tensor]] = {}
        """Model and data set with classes of its own to (C', D), the zero-shot head of these."""
        self.images: dict[str, dict[str, ImageFeatures]] = {}
        """Model and data set to features."""

    def on_test_epoch_start(self) -> None:
        """Build the heads."""
        for name, model in self.models.items():
            encode_text: Any = model.encode_text
            self.texts[name] = zero_shot_head(encode_text, self.prompts).cpu()
            self.own_texts[name] = {
                data_set: zero_shot_head(encode_text, prompts.to(self.prompts.device)).cpu()
                for data_set, prompts in self._own_prompts.items()
            }

    @torch.no_grad()
    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Take in a batch of one data set."""
        for name, model in self.models.items():
            features = model.encode_image(batch.images)  # type: ignore[operator]
            self._collected[name][dataloader_idx].update(features, batch.labels, batch.indices)  # type: ignore[index]

    def on_test_epoch_end(self) -> None:
        """Keep the features, while they are on the device that ranks exchange them from."""
        for model, collected in self._collected.items():
            self.images[model] = {
                name: metric.ordered()
                for name, metric in zip(self.names, collected, strict=True)  # type: ignore[call-overload]
            }
            for metric in collected:  # type: ignore[attr-defined]
                metric.reset()


class FeaturePredictor(pl.LightningModule):
    """Collects features of one loader's images: ``trainer.predict(FeaturePredictor(model), datamodule=data)``.

    Args:
        model: with ``encode_image``.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._collected = CollectedFeatures()
        self.images: ImageFeatures | None = None
        """Features of all ranks, on every rank."""

    def configure_model(self) -> None:
        """Shard nothing, where the strategy would have one do so: nothing is trained."""

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Take in a batch."""
        self._collected.update(self.model.encode_image(batch.images), batch.labels, batch.indices)

    def on_predict_epoch_end(self) -> None:
        """Keep the features, while they are on the device that ranks exchange them from."""
        self.images = self._collected.ordered()
