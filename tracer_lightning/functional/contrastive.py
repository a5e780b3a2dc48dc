"""Targets and cross-entropy of image-text contrastive learning."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Positives = Literal["diagonal", "same_label"]


def check_positives(positives: str) -> None:
    """Raise ValueError unless ``positives`` names a known choice."""
    if positives not in get_args(Positives):
        raise ValueError(f"positives must be one of {', '.join(get_args(Positives))}, found {positives!r}")


def positive_pairs(features: Tensor, labels: Tensor | None, positives: Positives) -> Tensor:
    """Which image and caption match, (B, B) booleans; arguments as for :func:`contrastive_targets`."""
    own = torch.eye(len(features), dtype=torch.bool, device=features.device)
    if positives == "diagonal":
        return own
    if labels is None:
        raise ValueError(
            "labels must not be None for positives 'same_label'; use positives 'diagonal' for a batch without labels"
        )
    return own | ((labels[:, None] == labels[None, :]) & (labels >= 0))


def contrastive_targets(features: Tensor, labels: Tensor | None, positives: Positives) -> Tensor:
    """Targets of the image-text matching problem.

    Args:
        features: (B, D) features of the batch, for its size, dtype and device.
        labels: (B,) class indices; needed for ``same_label``.
        positives: ``diagonal`` pairs each image with its own caption only, and pushes it away from the captions
            of other images of its class. ``same_label`` spreads the target evenly over all samples of the class; a
            sample without a class (-1) is paired with its own caption.

    Returns:
        (B,) indices for ``diagonal``; (B, B) rows summing to one for ``same_label``.
    """
    if positives == "diagonal":
        return torch.arange(features.shape[0], device=features.device)
    positive = positive_pairs(features, labels, positives).to(features.dtype)
    return positive / positive.sum(dim=1, keepdim=True)


def symmetric_cross_entropy(
    image_logits: Tensor, text_logits: Tensor, targets: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Mean of the image-to-text and the text-to-image cross-entropy.

    Args:
        image_logits: (B, B), rows image to text.
        text_logits: (B, B), rows text to image.
        targets: as returned by :func:`contrastive_targets`.
        label_smoothing: share e of the target spread over the batch, (1 - e) NLL + e mean(-log p).

    Returns:
        () loss in nats.
    """
    image_to_text = F.cross_entropy(image_logits, targets, label_smoothing=label_smoothing)
    text_to_image = F.cross_entropy(text_logits, targets, label_smoothing=label_smoothing)
    return 0.5 * (image_to_text + text_to_image)
