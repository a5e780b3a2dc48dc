"""Questions without their answers, from batches that have both."""

from __future__ import annotations

import torch
from torch import Tensor

from tracer_lightning.types import IGNORE_INDEX, Conversations

IDS, MASK = "input_ids", "attention_mask"


def prompts(batch: Conversations, padding: int) -> dict[str, Tensor]:
    """Inputs of a model whose last tokens ask for the first answer that has targets, padded on the left.

    Args:
        batch: conversations, padded on the right; those without targets stay whole.
        padding: token to pad with.

    Returns:
        Inputs by name: those of shape (B, L) become (B, length of the longest question), others are unchanged.
    """
    ids = batch.inputs[IDS]
    answered = batch.targets != IGNORE_INDEX  # (B, L), each one position before its token
    lengths = torch.where(answered.any(1), answered.int().argmax(1) + 1, batch.inputs[MASK].sum(1))  # (B,)
    width = int(lengths.max())
    source = torch.arange(width, device=ids.device) - (width - lengths)[:, None]  # (B, width), negative for padding
    inputs = dict(batch.inputs)
    for name, values in batch.inputs.items():
        if values.shape == ids.shape and not values.is_floating_point():
            filler = padding if name == IDS else 0
            inputs[name] = values.gather(1, source.clamp(min=0)).masked_fill(source < 0, filler)
    return inputs
