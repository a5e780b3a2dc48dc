"""Sizes of a CLIP model of two transformers, and the cost of its forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Shapes = tuple[tuple[int, int], ...]
"""Number of rows and of elements per row of each parameter."""


def padded(shapes: Shapes, shards: int) -> int:
    """Number of elements of parameters that are split by rows into shards padded to the same size."""
    return sum(-(-rows // shards) * shards * columns for rows, columns in shapes)


class Transformer(NamedTuple):
    """Sizes of the blocks of one tower."""

    layers: int
    width: int
    hidden: int
    """Width of the MLPs."""

    @property
    def shapes(self) -> Shapes:
        """Shapes of all blocks' weights and biases."""
        width, hidden = self.width, self.hidden
        attention = ((3 * width, width), (3 * width, 1), (width, width), (width, 1))
        mlp = ((hidden, width), (hidden, 1), (width, hidden), (width, 1))
        return (*attention, *mlp, *4 * ((width, 1),)) * self.layers

    def flops(self, tokens: int, pools_first: bool = False) -> int:
        """Floating-point operations of the forward pass of a sequence, counting masked pairs of tokens.

        Args:
            tokens: length L of the sequence.
            pools_first: whether the last block computes its first token only, from the keys and values of all.
        """
        full = self._block_flops(tokens, tokens)
        return full * (self.layers - 1) + (self._block_flops(tokens, 1) if pools_first else full)

    def _block_flops(self, tokens: int, computed: int) -> int:
        """Floating-point operations of a block that computes ``computed`` of its tokens."""
        width = self.width
        keys_and_values = 2 * tokens * 2 * width * width
        queries_and_rest = 2 * computed * width * (2 * width + 2 * self.hidden)
        return keys_and_values + queries_and_rest + 2 * 2 * computed * tokens * width


class ClipSizes(NamedTuple):
    """Sizes of a CLIP model of two transformers, as open_clip builds it."""

    dim: int
    """Dimension D of the shared space."""
    image: Transformer
    text: Transformer
    patch: int
    """Height and width of a patch in pixels."""
    patches: int
    """Number of patches of an image."""
    context: int
    """Largest number of tokens of a text."""
    vocabulary: int

    @property
    def parameters(self) -> int:
        """Number P of parameters of both towers, including the logit scale."""
        return self.block_parameters + padded(self.rest_shapes, 1) + 1

    @property
    def block_parameters(self) -> int:
        """Number of parameters of the transformers' blocks."""
        return padded(self.block_shapes, 1)

    @property
    def block_shapes(self) -> Shapes:
        """Shapes of the parameters of the transformers' blocks."""
        return self.image.shapes + self.text.shapes

    @property
    def rest_shapes(self) -> Shapes:
        """Shapes of the parameters outside the blocks, such as embeddings and projections, without the logit scale."""
        width, text = self.image.width, self.text.width
        image = ((width, 3 * self.patch**2), (width, 1), (self.patches + 1, width), *4 * ((width, 1),))
        embeddings = ((self.vocabulary, text), (self.context, text), *2 * ((text, 1),))
        return (*image, (width, self.dim), *embeddings, (text, self.dim))

    @property
    def patch_flops(self) -> int:
        """Floating-point operations of projecting the patches of an image."""
        return 2 * 3 * self.patch**2 * self.image.width * self.patches

    def forward_flops(self, tokens: int, pools_first: bool = True) -> int:
        """Floating-point operations of the forward pass of one image and one text.

        Args:
            tokens: length L of the text.
            pools_first: whether the image tower's last block computes the class token only, as
                :class:`tracer_lightning.models.open_clip.fast_attention.ClassTokenBlock` does and open_clip's does not.
        """
        image = self.patch_flops + self.image.flops(self.patches + 1, pools_first) + 2 * self.image.width * self.dim
        return image + self.text.flops(tokens) + 2 * self.text.width * self.dim


def clip_sizes(config: Mapping[str, Any]) -> ClipSizes:
    """Sizes of the model that open_clip builds from a configuration (``open_clip.get_model_config(name)``).

    Raises:
        ValueError: the image tower is not a plain ViT, or the text tower is not open_clip's own.
    """
    vision, text = config["vision_cfg"], config["text_cfg"]
    if not isinstance(vision.get("layers"), int) or "width" not in text:
        raise ValueError(
            "config must describe one of open_clip's own ViTs and text towers; other architectures are not supported"
        )
    return ClipSizes(
        dim=config["embed_dim"],
        image=Transformer(vision["layers"], vision["width"], int(vision["width"] * vision.get("mlp_ratio", 4.0))),
        text=Transformer(text["layers"], text["width"], int(text["width"] * text.get("mlp_ratio", 4.0))),
        patch=vision["patch_size"],
        patches=(vision["image_size"] // vision["patch_size"]) ** 2,
        context=text.get("context_length", 77),
        vocabulary=text.get("vocab_size", 49408),
    )
