"""From images to logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.types import EvalSet


def padded(classes: Sequence[Sequence[int]]) -> Tensor:
    """Groups of class indices as (C', K), padded with their first member, which does not change their maximum."""
    longest = max(len(group) for group in classes)
    return torch.tensor([[*group, *[group[0]] * (longest - len(group))] for group in classes])


def prompts_of(eval_set: EvalSet, prompts: Tensor, own_prompts: Mapping[str, Tensor] | None) -> Tensor:
    """Tokens of the prompts that a data set is classified by zero-shot.

    Args:
        eval_set: the data set.
        prompts: (C, P, L) tokens of every template for every training class.
        own_prompts: (C', P', L') tokens for each set with classes of its own, by its name.

    Raises:
        ValueError: the set has classes of its own, and their prompts are missing.
    """
    if eval_set.texts is None:
        return prompts
    if own_prompts is None or eval_set.name not in own_prompts:
        raise ValueError(f"own_prompts must have the prompts of {eval_set.name}, which has classes of its own")
    return own_prompts[eval_set.name]


def check_head(name: str, model: Any, classes: int, advice: str = "") -> None:
    """Raise ValueError where the model's own head, if it has one, is of another number of classes than the data."""
    if model.head is not None and model.head.out_features != classes:
        raise ValueError(
            f"the head of {name} has {model.head.out_features} classes and the data have {classes}; choose the data it "
            f"was made for{advice}"
        )


def image_logits(
    model: Any, head: Tensor | nn.Module | None, images: Tensor, columns: Tensor | None = None, in_bf16: bool = False
) -> Tensor:
    """(B, C) logits of normalised pixels (B, 3, H, W), in the type of the features even under autocast.

    Args:
        model: with ``encode_image``, ``logit_scale`` and ``classify``.
        head: (C, D), a zero-shot head; a classifier of features; None for the model's own.
        images: as the model expects them.
        columns: (C', K) classes of which a label's logit is the largest; the result is (B, C') then.
        in_bf16: round features, weights of the head and logits to bf16.
    """
    features = model.encode_image(images)
    with torch.autocast(features.device.type, enabled=False):
        if isinstance(head, nn.Module):
            logits = head(features)
        elif in_bf16:
            logits = _rounded_logits(model, head, features.bfloat16()).to(features.dtype)
        elif head is not None:
            logits = model.logit_scale.to(features.dtype) * features @ head.to(features.dtype).T
        else:
            logits = model.classify(features)
        if columns is not None:
            logits = logits[:, columns].amax(dim=-1)
    result: Tensor = logits
    return result


def _rounded_logits(model: Any, head: Tensor | None, features: Tensor) -> Tensor:
    """(B, C) logits of features (B, D), all in bf16; the scale is part of the released code's head."""
    logits: Tensor = model.classify(features) if head is None else features @ (model.logit_scale * head).bfloat16().T
    return logits


class Classifier:
    """A model with the head that it is tested with: its own, or else a zero-shot one of its text tower.

    Args:
        model: a :class:`tracer_lightning.models.ClipModel` or the like.
        prompts: (C, P, L) tokens of every template for every class.
        zero_shot: leave the model's own head aside.
    """

    def __init__(self, model: Any, prompts: Tensor, zero_shot: bool = False) -> None:
        self.model, self.prompts = model, prompts
        textual = zero_shot or model.head is None
        self.head = zero_shot_head(model.encode_text, prompts) if textual else None

    def zero_shot(self, prompts: Tensor | None = None) -> Classifier:
        """The same model with a zero-shot head, of other prompts (C', P', L') where these are given."""
        if prompts is None:
            return self if self.head is not None else Classifier(self.model, self.prompts, zero_shot=True)
        return Classifier(self.model, prompts, zero_shot=True)

    def __call__(self, images: Tensor, columns: Tensor | None = None) -> Tensor:
        """(B, C) logits of (B, 3, H, W); (B, C') with ``columns`` (C', K)."""
        return image_logits(self.model, self.head, images, columns)
