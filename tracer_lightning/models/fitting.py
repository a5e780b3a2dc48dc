"""Checks whether weights fit a backbone, and which other backbones they would fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import open_clip
from torch import Tensor

from tracer_lightning.models.open_clip.state_dicts import CLIP

ADDED = ".parametrizations."
"""Part of the names of weights with a LoRA update."""
SCALE, BIAS = "logit_scale", "logit_bias"
MAX_NAMES = 3
"""Maximum number of backbones in a message."""
EXTERNAL = ("timm_model_name", "hf_model_name")
"""Config keys of towers from other libraries."""


class Sizes(NamedTuple):
    """Sizes of a CLIP model's architecture, as inferred from the shapes of its weights."""

    embed_dim: int
    layers: int | tuple[int, ...]
    """Number of blocks in the image tower, or in each stage of a ResNet."""
    width: int
    patch_size: int | None
    """Patch size of a ViT; None for a ResNet."""
    image_size: int
    text_layers: int
    text_width: int
    vocab_size: int
    context_length: int

    def __str__(self) -> str:
        tower = f"ResNet of {self.layers} blocks" if self.patch_size is None else f"ViT of {self.layers} blocks"
        patches = "" if self.patch_size is None else f", patches of {self.patch_size} px"
        return (
            f"a {tower}, width {self.width}{patches}, images of {self.image_size} px, with {self.text_layers} blocks "
            f"of width {self.text_width} for {self.context_length} tokens, and {self.embed_dim} features"
        )


def check_fit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], where: str) -> None:
    """Raise ValueError for the first name or shape in which the weights of a model and a file differ.

    Args:
        expected: weights of the model.
        state: weights in the file.
        where: name of the file, for errors.
    """
    if len(expected) < len(state) and any(ADDED in name for name in state):
        raise ValueError(f"{where}: the weights have LoRA updates; export the run, and use the export")
    missing = [name for name in expected if name not in state]
    if missing:
        raise ValueError(f"{where}: {_describe_missing(missing, state)}{_describe_fit(expected, state)}")
    for name, value in expected.items():
        if state[name].shape != value.shape:
            raise ValueError(
                f"{where}: {name.removeprefix(CLIP)} has shape {tuple(state[name].shape)}, but "
                f"{tuple(value.shape)} in the backbone; choose their own backbone{_describe_fit(expected, state)}"
            )
    if surplus := sorted(set(state) - set(expected)):
        name = surplus[0].removeprefix(CLIP)
        remedy = "choose a SigLIP backbone, which has one" if name == BIAS else "choose another backbone"
        raise ValueError(
            f"{where}: contains {name}, which the backbone lacks; {remedy}{_describe_fit(expected, state)}"
        )


def _describe_missing(missing: list[str], state: Mapping[str, Tensor]) -> str:
    """Describe the weights that a file lacks."""
    names = [name.removeprefix(CLIP) for name in missing]
    if BIAS in names:
        return f"lacks {BIAS}, which SigLIP models have; choose a CLIP backbone"
    if names == [SCALE]:
        return f"lacks {SCALE}, the logarithm of the factor of the logits; add it (4.6052 in OpenAI's models)"
    towers = {"image": "visual.", "text": "token_embedding."}
    absent = [tower for tower, part in towers.items() if not any(part in name for name in state)]
    if len(absent) == 1:
        return f"contains no {absent[0]} tower (lacks {names[0]}); use the weights of a complete CLIP model"
    return f"lacks {names[0]}; the file has another architecture than the backbone"


def _describe_fit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Describe which other backbones the weights would fit, as the end of a message; empty where this is unknown."""
    sizes = infer_sizes(state)
    if sizes is None or sizes == infer_sizes(expected):
        return ""
    names = [name for name, known_sizes in _known_sizes().items() if known_sizes == sizes]
    if names:
        return f" (it fits {' or '.join(names[:MAX_NAMES])})"
    return f" (it is {sizes})"


def infer_sizes(state: Mapping[str, Tensor]) -> Sizes | None:
    """Infer the sizes of a model from weights with open_clip's names; None for other types of models."""
    shapes = {name.removeprefix(CLIP).removeprefix("text."): tuple(value.shape) for name, value in state.items()}
    try:
        (vocabulary, text_width), (context, _) = shapes["token_embedding.weight"], shapes["positional_embedding"]
        projection = shapes.get("text_projection") or shapes["text_projection.weight"][::-1]
        text = (_count_blocks(shapes, "transformer.resblocks.{}.ln_1.weight"), text_width, vocabulary, context)
        if "visual.class_embedding" in shapes:
            width, _, patch, _ = shapes["visual.conv1.weight"]
            size = patch * math.isqrt(shapes["visual.positional_embedding"][0] - 1)
            layers = _count_blocks(shapes, "visual.transformer.resblocks.{}.ln_1.weight")
            return Sizes(projection[1], layers, width, patch, size, *text)
        stages = tuple(_count_blocks(shapes, f"visual.layer{stage}.{{}}.conv1.weight") for stage in range(1, 5))
        size = 32 * math.isqrt(shapes["visual.attnpool.positional_embedding"][0] - 1)
        return Sizes(projection[1], stages, shapes["visual.layer1.0.conv1.weight"][0], None, size, *text)
    except (KeyError, ValueError, IndexError):
        return None


def _count_blocks(shapes: Mapping[str, Any], pattern: str) -> int:
    """Count the blocks, which are numbered from 0."""
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    return count


@cache
def _known_sizes() -> dict[str, Sizes]:
    """Return the sizes of open_clip's architectures, except those with towers from other libraries."""
    sizes = {}
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name) or {}
        towers = {**config.get("vision_cfg", {}), **config.get("text_cfg", {})}
        if "multimodal_cfg" in config or any(key in towers for key in EXTERNAL):
            continue
        vision, text = open_clip.CLIPVisionCfg(**config["vision_cfg"]), open_clip.CLIPTextCfg(**config["text_cfg"])
        layers = tuple(vision.layers) if isinstance(vision.layers, list) else vision.layers
        patch = None if isinstance(layers, tuple) else vision.patch_size
        sizes[name] = Sizes(
            *(config["embed_dim"], layers, vision.width, patch, vision.image_size),
            *(text.layers, text.width, text.vocab_size, text.context_length),
        )
    return sizes
