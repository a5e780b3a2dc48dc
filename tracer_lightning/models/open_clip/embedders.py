"""Embedders of other modalities, in place of the patch convolution of a CLIP's vision transformer.

Everything behind the embedder, the *body*, stays the pretrained transformer: it takes T tokens of its width, and a
class token in front of them. The functions prepare a model in place, as :mod:`tracer_lightning.models.peft` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from tracer_lightning.models.open_clip.clip import ClipModel

MOST_TOKENS = 4096
"""Greatest number of tokens of an embedder, because the cost of attention grows with its square."""
EMBEDDER = "model.visual.conv1."
"""Prefix of the names of an embedder's parameters in a :class:`ClipModel`."""
POSITIONS = "model.visual.positional_embedding"
"""Name of the position embeddings (T + 1, width), the class token's first."""


class ConvolutionEmbedder(nn.Module):
    """Patches of an array to normalised tokens, by a convolution whose stride is its kernel.

    Arrays are padded with zeros at their ends to a whole number of patches.

    Args:
        channels: number C of channels.
        patch: size of a patch along each axis: (P,) for series, (P, Q) for maps.
        width: width of the tokens.
    """

    def __init__(self, channels: int, patch: Sequence[int], width: int) -> None:
        super().__init__()
        convolution: Any = {1: nn.Conv1d, 2: nn.Conv2d}[len(patch)]
        self.patch = tuple(patch)
        self.projection = convolution(channels, width, self.patch, stride=self.patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, width, T) tokens of (B, C, L) or (B, C, H, W)."""
        ends = [(0, -size % step) for size, step in zip(samples.shape[2:], self.patch, strict=True)]
        padded = F.pad(samples, [n for end in reversed(ends) for n in end])
        tokens: Tensor = self.norm(self.projection(padded).flatten(2).transpose(1, 2))  # (B, T, width)
        return tokens.transpose(1, 2)


def conv1d(model: ClipModel, shape: Sequence[int], max_tokens: int | None = None) -> None:
    """Embed series (C, L) by a convolution over time.

    Args:
        model: model to prepare.
        shape: (C, L) of the samples.
        max_tokens: greatest number of tokens, which determines the patch; None for the number that the model's images
            have.

    Raises:
        ValueError: the samples have another number of axes, or the model has no vision transformer.
    """
    _embed(model, shape, max_tokens, axes=1, kind="series (C, L)")


def conv2d(model: ClipModel, shape: Sequence[int], max_tokens: int | None = None) -> None:
    """Embed maps (C, H, W), such as images or spectrograms, by a convolution over both axes.

    Arguments and errors are those of :func:`conv1d`.
    """
    _embed(model, shape, max_tokens, axes=2, kind="maps (C, H, W)")


def _embed(model: ClipModel, shape: Sequence[int], max_tokens: int | None, axes: int, kind: str) -> None:
    visual = _vision_transformer(model)
    if len(shape) != axes + 1 or min(shape) < 1:
        raise ValueError(f"shape must be that of {kind}, got {tuple(shape)}; choose another embedder")
    if max_tokens is None:
        max_tokens = len(visual.positional_embedding) - 1
    if not 1 <= max_tokens <= MOST_TOKENS:
        raise ValueError(f"max_tokens must be >= 1 and <= {MOST_TOKENS}, got {max_tokens}")
    channels, *sizes = shape
    patch = patch_sizes(sizes, max_tokens)
    grid = [math.ceil(size / step) for size, step in zip(sizes, patch, strict=True)]
    positions = visual.positional_embedding
    embedder = ConvolutionEmbedder(channels, patch, positions.shape[1]).to(positions.device, positions.dtype)
    replace_embedder(model, embedder, grid)


def patch_sizes(sizes: Sequence[int], max_tokens: int) -> tuple[int, ...]:
    """The smallest patch that leaves at most ``max_tokens`` patches, lengthened along the axis that has most of them.

    Args:
        sizes: sizes of the sample's axes, without its channels.
        max_tokens: greatest number of patches.
    """
    patch = [1] * len(sizes)
    while math.prod(counts := [math.ceil(size / step) for size, step in zip(sizes, patch, strict=True)]) > max_tokens:
        patch[counts.index(max(counts))] += 1
    return tuple(patch)


def replace_embedder(model: ClipModel, embedder: nn.Module, grid: Sequence[int]) -> None:
    """Put an embedder in the place of the patch convolution, and resample the position embeddings to its tokens.

    Everything else stays as it is; with the patch convolution itself and its own grid, so do the features, bit for bit.

    Args:
        model: model to change in place.
        embedder: module from samples to (B, width, ...) tokens on a grid.
        grid: number of tokens along each axis: (T,) of series, whose positions are resampled along the raster of the
            model's patches, or (H', W').

    Raises:
        ValueError: the image tower is no vision transformer with its positions on a square.
    """
    visual = _vision_transformer(model)
    first, patches = visual.positional_embedding.detach().split([1, len(visual.positional_embedding) - 1])
    side = math.isqrt(len(patches))
    if side**2 != len(patches):
        raise ValueError("model must have its position embeddings on a square of patches; choose another model")
    columns = patches.T  # (width, side²)
    if len(grid) == 1:
        resampled = F.interpolate(columns[None], tuple(grid), mode="linear", align_corners=False)[0]
    else:
        square = columns.unflatten(1, (side, side))[None]
        resampled = F.interpolate(square, tuple(grid), mode="bilinear", align_corners=False)[0].flatten(1)
    visual.conv1 = embedder
    visual.positional_embedding = nn.Parameter(torch.cat([first, resampled.T]))


def embedder_parameters(model: ClipModel) -> dict[str, nn.Parameter]:
    """Parameters of a model's embedder by name: those of the convolution, and the position embeddings."""
    return {name: p for name, p in model.named_parameters() if name.startswith(EMBEDDER) or name == POSITIONS}


def _vision_transformer(model: ClipModel) -> VisionTransformer:
    """The image tower; ValueError where it is none of open_clip's vision transformers, such as a ResNet."""
    visual = getattr(getattr(model, "model", None), "visual", None)
    if not isinstance(visual, VisionTransformer):
        raise ValueError(
            f"model must have one of open_clip's vision transformers, and has a {type(visual or model).__name__}; "
            "choose another backbone"
        )
    return visual
