"""How a model computes: what changes memory and speed, not results."""

from __future__ import annotations

import torch

from tracer_lightning.models.backbone import Model


def configure_compute(
    model: Model,
    gradient_checkpointing: bool = False,
    channels_last: bool = False,
    micro_batch: int | None = None,
) -> None:
    """Set up a model before its teacher is made of it; a teacher drops checkpointing, which it has no use for.

    Args:
        model: changed in place.
        gradient_checkpointing: recompute the blocks' activations in the backward pass instead of keeping them.
        channels_last: lay out convolutions' weights as (out, height, width, in), which ResNets run faster with on GPUs.
        micro_batch: keep the activations of so many samples at a time, and compute them again in the backward pass.
            The loss is still that of the whole batch, unlike that of accumulated gradients.

    Raises:
        ValueError: checkpointing is asked of an image tower without it, or micro-batches of one with BatchNorm.
    """
    if gradient_checkpointing:
        model.checkpoint_activations()
    if micro_batch is not None:
        if isinstance(micro_batch, bool) or not isinstance(micro_batch, int) or micro_batch < 1:
            raise ValueError(f"compute.micro_batch must be null or a whole number >= 1, found {micro_batch!r}")
        model.train_in_micro_batches(micro_batch)
    if channels_last:
        model.to(memory_format=torch.channels_last)
