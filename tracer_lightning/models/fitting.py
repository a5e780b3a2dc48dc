"""Do weights fit a backbone? If not, which would they fit?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import open_clip
from torch import Tensor

from tracer_lightning.models.open_clip.state_dicts import CLIP

ADDED = ".parametrizations."
"""In the names of weights that are updated by LoRA."""
SCALE, BIAS = "logit_scale", "logit_bias"
MOST_NAMES = 3
"""The most backbones that a message names."""
FOREIGN = ("timm_model_name", "hf_model_name")
"""Settings of towers that are none of open_clip's own."""


class Sizes(NamedTuple):
    """What the shapes of a CLIP model's weights say of its architecture."""

    embed_dim: int
    layers: int | tuple[int, ...]
    """Blocks of the image tower; of each stage, for a ResNet."""
    width: int
    patch_size: int | None
    """None for a ResNet."""
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


def check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], where: str) -> None:
    """Raise ValueError for the first tensor that a model's own state and a file's disagree on.

    Args:
        own: the backbone's weights.
        state: the file's.
        where: the file, for errors.
    """
    if len(own) < len(state) and any(ADDED in name for name in state):
        raise ValueError(f"{where}: of a run with peft=lora; export it, and take the export")
    missing = [name for name in own if name not in state]
    if missing:
        raise ValueError(f"{where}: {_lack(missing, state)}{_fitting(own, state)}")
    for name, value in own.items():
        if state[name].shape != value.shape:
            raise ValueError(
                f"{where}: {name.removeprefix(CLIP)} has shape {tuple(state[name].shape)} and the backbone's "
                f"{tuple(value.shape)}; choose the backbone= that the file was trained with{_fitting(own, state)}"
            )
    if surplus := sorted(set(state) - set(own)):
        name = surplus[0].removeprefix(CLIP)
        remedy = "SigLIP's, which are no CLIP models" if name == BIAS else "choose another backbone="
        raise ValueError(f"{where}: holds {name}, which the backbone lacks; {remedy}{_fitting(own, state)}")


def _lack(missing: list[str], state: Mapping[str, Tensor]) -> str:
    """What weights lack, in words."""
    names = [name.removeprefix(CLIP) for name in missing]
    if names == [SCALE]:
        return f"lacks {SCALE}, the logarithm of what logits are multiplied with; add it (OpenAI's models have 4.6052)"
    towers = {"image": "visual.", "text": "token_embedding."}
    absent = [tower for tower, part in towers.items() if not any(part in name for name in state)]
    if len(absent) == 1:
        return f"holds no {absent[0]} tower (lacks {names[0]}); give the weights of a whole CLIP model"
    return f"lacks {names[0]}; the file is of another architecture than backbone="


def _fitting(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """The end of a message: which backbone weights would fit, where their shapes say it of another than this one."""
    sizes = sizes_of(state)
    if sizes is None or sizes == sizes_of(own):
        return ""
    names = [name for name, known in _known().items() if known == sizes]
    if names:
        return f" (it fits {' or '.join(names[:MOST_NAMES])})"
    return f" (it is {sizes})"


def sizes_of(state: Mapping[str, Tensor]) -> Sizes | None:
    """What the shapes of weights by open_clip's names say; None where they are of another kind of model."""
    shapes = {name.removeprefix(CLIP).removeprefix("text."): tuple(value.shape) for name, value in state.items()}
    try:
        (vocabulary, text_width), (context, _) = shapes["token_embedding.weight"], shapes["positional_embedding"]
        projection = shapes.get("text_projection") or shapes["text_projection.weight"][::-1]
        text = (_count(shapes, "transformer.resblocks.{}.ln_1.weight"), text_width, vocabulary, context)
        if "visual.class_embedding" in shapes:
            width, _, patch, _ = shapes["visual.conv1.weight"]
            size = patch * math.isqrt(shapes["visual.positional_embedding"][0] - 1)
            layers = _count(shapes, "visual.transformer.resblocks.{}.ln_1.weight")
            return Sizes(projection[1], layers, width, patch, size, *text)
        stages = tuple(_count(shapes, f"visual.layer{stage}.{{}}.conv1.weight") for stage in range(1, 5))
        size = 32 * math.isqrt(shapes["visual.attnpool.positional_embedding"][0] - 1)
        return Sizes(projection[1], stages, shapes["visual.layer1.0.conv1.weight"][0], None, size, *text)
    except (KeyError, ValueError, IndexError):
        return None


def _count(shapes: Mapping[str, Any], pattern: str) -> int:
    """How many blocks there are, numbered from 0."""
    number = 0
    while pattern.format(number) in shapes:
        number += 1
    return number


@cache
def _known() -> dict[str, Sizes]:
    """The sizes of open_clip's architectures, of those whose towers are its own."""
    known = {}
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name) or {}
        towers = {**config.get("vision_cfg", {}), **config.get("text_cfg", {})}
        if "multimodal_cfg" in config or any(key in towers for key in FOREIGN):
            continue
        vision, text = open_clip.CLIPVisionCfg(**config["vision_cfg"]), open_clip.CLIPTextCfg(**config["text_cfg"])
        layers = tuple(vision.layers) if isinstance(vision.layers, list) else vision.layers
        patch = None if isinstance(layers, tuple) else vision.patch_size
        known[name] = Sizes(
            *(config["embed_dim"], layers, vision.width, patch, vision.image_size),
            *(text.layers, text.width, text.vocab_size, text.context_length),
        )
    return known
