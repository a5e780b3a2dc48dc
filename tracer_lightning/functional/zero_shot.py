"""Zero-shot head from prompts."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 1024
"""Number of texts encoded at once."""


@torch.no_grad()
def prompt_features(encode_text: Callable[[Tensor], Tensor], prompts: Tensor) -> Tensor:
    """Normalised embeddings (C, P, D) of prompts (C, P, L).

    Args:
        encode_text: function from tokens (N, L) to features (N, D).
        prompts: tokens (C, P, L) of every template for every class.
    """
    classes, templates, length = prompts.shape
    features = torch.cat([encode_text(chunk) for chunk in prompts.reshape(-1, length).split(CHUNK)])  # type: ignore[no-untyped-call]
    return F.normalize(features, dim=-1).reshape(classes, templates, -1)


def zero_shot_head(encode_text: Callable[[Tensor], Tensor], prompts: Tensor) -> Tensor:
    """One normalised vector per class: the mean of its normalised template embeddings, renormalised.

    Args:
        encode_text: function from tokens (N, L) to features (N, D).
        prompts: tokens (C, P, L) of every template for every class.

    Returns:
        (C, D) head; logits are s I headᵀ.
    """
    return F.normalize(prompt_features(encode_text, prompts).mean(dim=1), dim=-1)
