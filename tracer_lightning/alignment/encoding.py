"""Samples to what stage 1 compares: the tokens that enter the body, and the features that leave it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from tracer_lightning.data import ClipDataModule
from tracer_lightning.models import ClipModel

Space = Literal["body", "tokens"]
"""Where distances are measured: on the body's normalised features, of which the source predictor is a function, or on
the mean of the tokens that enter it, as in the released code, which may be close while all predictions are the same."""
CHUNK, CHUNK_BYTES = 256, 64 << 20
"""Greatest number of samples, and of their bytes (64 MiB), that are encoded at once where all are."""


class Encoded(NamedTuple):
    """Samples as stage 1 sees them."""

    points: Tensor
    """(B, D) where distances are measured."""
    features: Tensor
    """(B, D) normalised features, which the source predictor classifies."""


def encode(model: ClipModel, samples: Tensor, space: Space) -> Encoded:
    """Encode samples as the model's embedder takes them.

    Args:
        model: model with one of open_clip's vision transformers.
        samples: (B, C, ...) samples.
        space: where distances are measured.
    """
    if space == "body":
        features = model.encode_image(samples)
        return Encoded(features, features)
    entering: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: Tensor) -> None:
        entering.append(output[:, 1:].mean(dim=1))  # without the class token

    handle = model.model.visual.ln_pre.register_forward_hook(keep)
    try:
        features = model.encode_image(samples)
    finally:
        handle.remove()
    return Encoded(entering[0], features)


class TrainingSamples:
    """Labelled training samples of a data module, prepared as in evaluation, on a device.

    Args:
        data: data module.
        most: greatest number of samples, in a random order; None for all in their own.
        seed: seed of the order.
        device: device of the batches.
        labels: (N,) labels that replace those of the data, in their order; None to keep them.
    """

    def __init__(
        self, data: ClipDataModule, most: int | None, seed: int, device: torch.device, labels: Tensor | None = None
    ) -> None:
        self._data, self._device = data, device
        self._labels = None if labels is None else labels.to(device)
        self._dataset, self._collate = data.plain_dataset(), data.collate()
        labels = torch.as_tensor(self._dataset.source.labels)
        rows = (labels >= 0).nonzero()[:, 0]
        if most is not None:
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
            rows = rows[order[:most]]
        self._rows = rows.tolist()
        self._chunk = CHUNK
        if self._rows:
            self._chunk = min(CHUNK, max(1, CHUNK_BYTES // self._dataset[0, self._rows[0]].image.nbytes))

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._rows)

    def batch(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (B, C, ...) and labels (B,) at these places (B,), but for those that can't be read."""
        keys = [(0, self._rows[place]) for place in places.tolist()]
        batch = self._data.transfer_batch_to_device(
            self._collate(self._dataset.__getitems__(keys)), self._device, dataloader_idx=0
        )
        prepared = self._data.on_after_batch_transfer(batch, 0)
        readable = prepared.labels >= 0
        labels = prepared.labels if self._labels is None else self._labels[prepared.indices]
        return prepared.images[readable], labels[readable]

    def batches(self, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Samples and labels, a chunk at a time: the first ``most``, or all."""
        for places in torch.arange(len(self))[:most].split(self._chunk):  # type: ignore[no-untyped-call]
            yield self.batch(places)


@torch.no_grad()
def encode_all(model: ClipModel, samples: TrainingSamples, space: Space) -> tuple[Encoded, Tensor]:
    """Encode all samples; also returns their labels (N,)."""
    parts = [(encode(model, batch, space), labels) for batch, labels in samples.batches()]
    encoded = Encoded(*(torch.cat(tensors) for tensors in zip(*(part for part, _ in parts), strict=True)))
    return encoded, torch.cat([labels for _, labels in parts])
