"""Prompts, encoded by the model before training, as anchors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracer_lightning.anchors.base import HasTexts
from tracer_lightning.functional.zero_shot import prompt_features, zero_shot_head
from tracer_lightning.types import ClipFeatures


class _Constant(nn.Module):
    """Constant text features, which are not saved: a resumed run computes them again."""

    reads: frozenset[str] = frozenset()
    features: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)

    def forward(self, model: HasTexts, teacher: ClipFeatures, step: int) -> Tensor:
        """Return the constant features (A, D)."""
        return self.features.to(teacher.image.dtype)


class ClassPrompts(_Constant):
    """One anchor per class: the vector of the zero-shot head.

    Args:
        model: the model before training.
        prompts: tokens (C, P, L) of every template for every class.
    """

    def __init__(self, model: HasTexts, prompts: Tensor) -> None:
        super().__init__(zero_shot_head(model.encode_text, prompts))


class ContextPrompts(_Constant):
    """One anchor per template: the mean of its embeddings over the classes (CAR-FT; Mao et al., 2024).

    As in the zero-shot head, embeddings are normalised before the mean, and the mean after.

    Args:
        model: the model before training.
        prompts: tokens (C, P, L) of every template for every class.
    """

    def __init__(self, model: HasTexts, prompts: Tensor) -> None:
        if prompts.shape[1] < 2:
            raise ValueError(f"prompts must have two templates or more to compare contexts, found {prompts.shape[1]}")
        contexts = prompt_features(model.encode_text, prompts).mean(dim=0)  # (P, D)
        super().__init__(torch.nn.functional.normalize(contexts, dim=-1))
