"""Options that change a model's memory use and speed, but not its results: micro-batches, checkpointing, layout."""

from __future__ import annotations

import torch

from tracer_lightning.models.model import Model


def configure_compute(
    model: Model,
    gradient_checkpointing: bool = False,
    channels_last: bool = False,
    micro_batch: int | None = None,
) -> None:
    """Configure a model in place; call this before its teacher is created.

    Args:
        model: model to configure.
        gradient_checkpointing: whether blocks recompute their activations in the backward pass instead of storing them.
        channels_last: whether convolution weights use the memory layout (out, height, width, in), with which ResNets
            run faster on GPUs.
        micro_batch: number of samples whose activations are stored at a time and recomputed in the backward pass; None
            for all. Unlike with accumulated gradients, the loss is that of the full batch.

    Raises:
        ValueError: the image tower does not support checkpointing, or micro-batches would change its BatchNorm
            statistics.
    """
    if gradient_checkpointing:
        model.checkpoint_activations()
    if micro_batch is not None:
        if isinstance(micro_batch, bool) or not isinstance(micro_batch, int) or micro_batch < 1:
            raise ValueError(f"micro_batch must be an integer >= 1 or None, got {micro_batch!r}")
        model.train_in_micro_batches(micro_batch)
    if channels_last:
        model.to(memory_format=torch.channels_last)
