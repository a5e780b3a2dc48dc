"""open_clip models behind the one interface that the rest of the package uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d
from open_clip.transformer import text_global_pool
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from tracer_lightning.functional.distributed import full_tensor
from tracer_lightning.models.open_clip.fast_attention import use_fast_attention
from tracer_lightning.types import ClipFeatures


def _normalise(features: Tensor) -> Tensor:
    """L2-normalise in fp32 or wider, whatever autocast made of the features."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


class ClipModel(nn.Module):
    """An open_clip model that returns :class:`ClipFeatures` and takes texts of any length up to its context.

    Args:
        model: an ``open_clip.CLIP`` or ``open_clip.CustomTextCLIP`` without logit bias.
    """

    model: Any  # open_clip is untyped

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if getattr(model, "logit_bias", None) is not None:
            raise ValueError("models with a logit bias (SigLIP) are not supported; choose a CLIP model")
        use_fast_attention(model)
        self.model = model
        self.image_adapter: nn.Module = nn.Identity()
        self.text_adapter: nn.Module = nn.Identity()
        self.head: nn.Linear | None = None
        """Of a classifier: from image features (B, D) to logits (B, C)."""
        self.micro_batch: int | None = None
        """Samples that a training step keeps activations of at a time; None for all."""
        self.batch_norm_frozen = False
        """Whether BatchNorm layers are never in training."""

    def freeze_batch_norm(self, keep: bool) -> None:
        """Let BatchNorm layers use the running statistics that they have in training, too, and leave them as they are.

        Raises:
            ValueError: there are no such layers.
        """
        if keep and not any(isinstance(module, _BatchNorm) for module in self.modules()):
            raise ValueError("batch_norm=frozen: this model has no BatchNorm layers; leave it at train")
        self.batch_norm_frozen = keep
        self.train(self.training)

    @property
    def trains_batch_norm_statistics(self) -> bool:
        """Whether training moves the running statistics of BatchNorm layers."""
        return not self.batch_norm_frozen and any(isinstance(module, _BatchNorm) for module in self.modules())

    def train(self, mode: bool = True) -> ClipModel:
        """Set the mode, but for BatchNorm layers that keep their statistics."""
        super().train(mode)
        for module in self.modules() if mode and self.batch_norm_frozen else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    @property
    def trims_text(self) -> bool:
        """Whether cutting texts behind the token of the highest id changes nothing: causal tower, pooled there."""
        causal = isinstance(self.model, open_clip.CLIP) and self.model.attn_mask is not None
        return causal and self.model.text_pool_type == "argmax"

    @property
    def context_length(self) -> int:
        """Tokens that a text may have."""
        return int(self.model.context_length)

    def forward(self, images: Tensor, texts: Tensor | None) -> ClipFeatures:
        """Features of images (B, 3, H, W), normalised pixels, and texts (B, L), token ids, if they are asked for."""
        # not the methods of self: sharding wraps what is called from outside, and this is inside
        image = self._in_parts(ClipModel.encode_image, images)
        text = image.new_zeros(0, image.shape[1]) if texts is None else self._in_parts(ClipModel.encode_text, texts)
        return ClipFeatures(image, text, self.logit_scale)

    def _in_parts(self, encode: Callable[[ClipModel, Tensor], Tensor], inputs: Tensor) -> Tensor:
        """``encode(self, inputs)``, at most ``micro_batch`` at a time, each part computed again in the backward pass.

        The features of all parts meet in one loss, so that the set of negatives is the whole batch (GradCache; Gao et
        al., 2021).
        """
        if self.micro_batch is None or len(inputs) <= self.micro_batch:
            return encode(self, inputs)
        parts = torch.split(inputs, self.micro_batch)
        return torch.cat([checkpoint(encode, self, part, use_reentrant=False) for part in parts])

    def classify(self, features: Tensor) -> Tensor:
        """(B, C) logits of the head on image features (B, D), in the type of the features."""
        assert self.head is not None
        weight, bias = full_tensor(self.head.weight), full_tensor(self.head.bias)
        return F.linear(features, weight.to(features.dtype), bias.to(features.dtype))

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, D) normalised features of (B, 3, H, W) normalised pixels, cast to the type of the weights."""
        dtype = next(self.model.visual.parameters()).dtype
        return _normalise(self.image_adapter(self.model.encode_image(images.to(dtype))))

    def encode_text(self, texts: Tensor) -> Tensor:
        """(N, D) normalised features of (N, L) token ids."""
        features = self._encode_trimmed(texts) if self.trims_text else self.model.encode_text(texts)
        return _normalise(self.text_adapter(features))

    def _encode_trimmed(self, texts: Tensor) -> Tensor:
        """open_clip's ``CLIP.encode_text`` with positions and mask cut to the length of the texts."""
        clip, length = self.model, texts.shape[1]
        dtype = clip.transformer.get_cast_dtype()
        x = clip.token_embedding(texts).to(dtype) + clip.positional_embedding[:length].to(dtype)  # (N, L, width)
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
        pooled = text_global_pool(x, texts, clip.text_pool_type, eos_token_id=clip.text_eos_id)
        projection = clip.text_projection
        features: Tensor = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        return features

    @property
    def logit_scale(self) -> Tensor:
        """() scale s of the logits, exponentiated."""
        return full_tensor(self.model.logit_scale).exp()

    @property
    def is_resnet(self) -> bool:
        """Whether the image tower is CLIP's ResNet, which pools by attention."""
        return isinstance(getattr(self.model.visual, "attnpool", None), AttentionPool2d)

    @property
    def image_projection(self) -> Tensor:
        """(width, D): the ViT's projection, or that of a ResNet's attention pooling."""
        visual = self.model.visual
        projection = getattr(visual, "proj", None)
        if isinstance(projection, nn.Parameter):
            return projection
        pooling = getattr(visual, "attnpool", None)
        if isinstance(pooling, AttentionPool2d):
            weight: Tensor = pooling.c_proj.weight
            return weight.T
        raise ValueError(f"regularizers: {type(visual).__name__} has no linear image projection; drop the regularizer")

    @property
    def text_projection(self) -> Tensor:
        """(width, D)."""
        projection = getattr(getattr(self.model, "text", self.model), "text_projection", None)
        if isinstance(projection, nn.Linear):
            return projection.weight.T
        if isinstance(projection, nn.Parameter):
            return projection
        raise ValueError("regularizers: the text tower has no linear projection; drop the regularizer")
