"""Prompts as the model saw them before training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracer_lightning.anchors.base import HasTexts
from tracer_lightning.functional.zero_shot import prompt_features, zero_shot_head
from tracer_lightning.types import ClipFeatures


class _Constant(nn.Module):
    """Text features that stay what they are. They are not saved: a continued run makes them again."""

    reads: frozenset[str] = frozenset()
    features: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)

    def forward(self, model: HasTexts, teacher: ClipFeatures, step: int) -> Tensor:
        """(A, D)."""
        return self.features.to(teacher.image.dtype)


class ClassPrompts(_Constant):
    """One anchor per class, the zero-shot head's vector.

    Args:
        model: as it is before training.
        prompts: (C, P, L) tokens of every template for every class.
    """

    def __init__(self, model: HasTexts, prompts: Tensor) -> None:
        super().__init__(zero_shot_head(model.encode_text, prompts))


class ContextPrompts(_Constant):
    """One anchor per template, the mean of its embeddings over the classes (CAR-FT; Mao et al., 2024).

    As in the zero-shot head, embeddings are normalised before the mean, and the mean after.

    Args:
        model: as it is before training.
        prompts: (C, P, L) tokens of every template for every class.
    """

    def __init__(self, model: HasTexts, prompts: Tensor) -> None:
        if prompts.shape[1] < 2:
            raise ValueError("anchors=context_prompts compares templates, and the data have one; give more")
        contexts = prompt_features(model.encode_text, prompts).mean(dim=0)  # (P, D)
        super().__init__(torch.nn.functional.normalize(contexts, dim=-1))
