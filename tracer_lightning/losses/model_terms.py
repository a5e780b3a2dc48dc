"""Interface of models whose projections are regularized."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class HasProjections(Protocol):
    """A model with linear projections to the shared space."""

    @property
    def image_projection(self) -> Tensor:
        """(width of the image tower, D)."""

    @property
    def text_projection(self) -> Tensor:
        """(width of the text tower, D)."""

    @property
    def is_resnet(self) -> bool:
        """Whether the image tower is CLIP's ResNet."""
