"""Captions from class names and templates, and the randomness that draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

PLACEHOLDER = "{c}"


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Random numbers of one sample in one epoch, the same in any process and order of loading."""
    return np.random.Generator(np.random.Philox(key=(seed, epoch), counter=(0, 0, 0, index)))


class CaptionTable:
    """Every template filled with every class name, tokenised once.

    Args:
        classnames: C names.
        templates: P templates, each with the placeholder ``{c}``.
        tokenize: captions to (N, context length) ids.
    """

    def __init__(
        self, classnames: Sequence[str], templates: Sequence[str], tokenize: Callable[[Sequence[str]], Tensor]
    ) -> None:
        if not classnames or not templates:
            raise ValueError(f"data: {len(classnames)} class names and {len(templates)} templates make no captions")
        for template in templates:
            if PLACEHOLDER not in template:
                raise ValueError(f"data: template {template!r} lacks the placeholder {PLACEHOLDER}")
        self._tokenize = tokenize
        captions = [template.replace(PLACEHOLDER, name) for name in classnames for template in templates]
        self.tokens = tokenize(captions).reshape(len(classnames), len(templates), -1)
        """(C, P, context length)."""

    def encode(self, caption: str) -> Tensor:
        """(context length,) tokens of any caption."""
        return self._tokenize([caption])[0]

    def draw(self, label: int, rng: np.random.Generator) -> Tensor:
        """(context length,) tokens of one random template for the class."""
        return self.tokens[label, int(rng.integers(self.tokens.shape[1]))]
