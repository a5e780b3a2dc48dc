"""How a model computes: what changes memory and speed, not results."""

from __future__ import annotations

import torch
from open_clip.modified_resnet import ModifiedResNet

from tracer_lightning.models.clip import ClipModel


def configure_compute(model: ClipModel, gradient_checkpointing: bool = False, channels_last: bool = False) -> None:
    """Set up a model before its teacher is made of it; a teacher drops checkpointing, which it has no use for.

    Args:
        model: changed in place.
        gradient_checkpointing: recompute the blocks' activations in the backward pass instead of keeping them.
        channels_last: lay out convolutions' weights as (out, height, width, in), which ResNets run faster with on GPUs.

    Raises:
        ValueError: checkpointing is asked of an image tower without it.
    """
    if gradient_checkpointing:
        if isinstance(model.model.visual, ModifiedResNet):
            raise ValueError("compute.gradient_checkpointing: open_clip's ResNets have none; set it false")
        model.model.set_grad_checkpointing(True)
    if channels_last:
        model.to(memory_format=torch.channels_last)
