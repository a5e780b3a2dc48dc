"""Texts of random tokens as anchors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tracer_lightning.anchors.base import HasTexts
from tracer_lightning.types import ClipFeatures


class RandomTokens(nn.Module):
    """Sequences of uniformly random tokens, drawn anew at every step (Lipsum-FT; Nam et al., 2024).

    Begin- and end-of-text tokens are added and never drawn. The draw depends only on seed and step.

    Args:
        model: model whose text tower accepts texts of any length.
        prompts: tokens (C, P, L), from which the begin- and end-of-text tokens are taken.
        count: number A of sequences per step.
        length: number of random tokens per sequence.
        seed: seed of the draws.
    """

    reads: frozenset[str] = frozenset()

    def __init__(self, model: HasTexts, prompts: Tensor, count: int, length: int, seed: int) -> None:
        super().__init__()
        if not model.trims_text:
            raise ValueError(
                "model must have CLIP's own causal text tower, which pools at the end-of-text token; use other anchors"
            )
        longest = model.context_length - 2  # without the begin- and end-of-text tokens
        if count < 1:
            raise ValueError(f"count must be >= 1, found {count}")
        if not 1 <= length <= longest:
            raise ValueError(f"length must be from 1 to {longest}, the longest text of the model, found {length}")
        self.count, self.length, self.seed = count, length, seed
        self.begin, self.end = int(prompts[0, 0, 0]), int(prompts[0, 0].max())

    def tokens(self, step: int) -> Tensor:
        """Draw the token ids (A, length + 2) of a step."""
        rng = np.random.Generator(np.random.Philox(key=(self.seed, step)))
        drawn = torch.from_numpy(rng.integers(min(self.begin, self.end), size=(self.count, self.length)))
        begin, end = (torch.full((self.count, 1), token) for token in (self.begin, self.end))
        return torch.cat([begin, drawn, end], dim=1)

    @torch.no_grad()
    def forward(self, model: HasTexts, teacher: ClipFeatures, step: int) -> Tensor:
        """Encode the random texts of a step as features (A, D)."""
        return model.encode_text(self.tokens(step).to(teacher.image.device))
