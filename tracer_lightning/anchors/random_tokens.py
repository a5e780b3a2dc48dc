"""Texts without meaning."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tracer_lightning.anchors.base import HasTexts
from tracer_lightning.types import ClipFeatures


class RandomTokens(nn.Module):
    """Sequences of uniformly random tokens, drawn anew at every step (Lipsum-FT; Nam et al., 2024).

    Begin- and end-of-text tokens are added, and not drawn. The draw depends on seed and step alone.

    Args:
        model: any whose text tower takes texts of any length.
        prompts: (C, P, L) tokens, for the begin- and end-of-text tokens.
        count: A, sequences per step.
        length: random tokens in each.
        seed: of the draws.
    """

    reads: frozenset[str] = frozenset()

    def __init__(self, model: HasTexts, prompts: Tensor, count: int, length: int, seed: int) -> None:
        super().__init__()
        if not model.trims_text:
            raise ValueError("anchors=random_tokens needs CLIP's own causal text tower; choose context_prompts")
        if count < 1 or length < 1:
            raise ValueError(f"anchors: count and length must be whole numbers >= 1, found {count} and {length}")
        if length + 2 > model.context_length:
            raise ValueError(
                f"anchors: length={length} and two tokens around it are more than the {model.context_length} of a text"
            )
        self.count, self.length, self.seed = count, length, seed
        self.begin, self.end = int(prompts[0, 0, 0]), int(prompts[0, 0].max())

    def tokens(self, step: int) -> Tensor:
        """(A, length + 2) token ids of a step."""
        rng = np.random.Generator(np.random.Philox(key=(self.seed, step)))
        drawn = torch.from_numpy(rng.integers(min(self.begin, self.end), size=(self.count, self.length)))
        begin, end = (torch.full((self.count, 1), token) for token in (self.begin, self.end))
        return torch.cat([begin, drawn, end], dim=1)

    @torch.no_grad()
    def forward(self, model: HasTexts, teacher: ClipFeatures, step: int) -> Tensor:
        """(A, D)."""
        return model.encode_text(self.tokens(step).to(teacher.image.device))
