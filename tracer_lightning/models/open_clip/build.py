"""Building backbones from a configuration or by the name of a published model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from typeguard import TypeCheckError, check_type

from tracer_lightning.models.model import Backbone
from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB, check_pretrained, local_weights, model_config
from tracer_lightning.models.open_clip.tokenizers import load_tokenizer
from tracer_lightning.models.weights import load_weights as load_file
from tracer_lightning.types import InputSpec

MAX_SIZE = 1_000_000
"""Maximum of any size of a model; larger ones don't fit into any memory."""
IDS = ("pad_id", "eos_id")
"""Integer options of a tower that may be 0."""
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
"""Preprocessing options of a pretrained tag, which also apply without its weights."""


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)


def build_clip(
    embed_dim: int,
    vision_cfg: Mapping[str, Any],
    text_cfg: Mapping[str, Any],
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.5, 0.5, 0.5),
    quick_gelu: bool = False,
    init_logit_scale: float | None = None,
    init_logit_bias: float | None = None,
) -> Backbone:
    """Build a randomly initialised ``open_clip.CLIP`` from an open_clip model configuration.

    Args:
        embed_dim: width D of the features.
        vision_cfg: ``vision_cfg`` of open_clip's model configurations (``image_size``, ``patch_size``, ``width``,
            ``layers``).
        text_cfg: ``text_cfg`` of open_clip's model configurations (``context_length``, ``vocab_size``, ``width``,
            ``heads``, ``layers``).
        mean: channel means of the inputs, for pixels in [0, 1].
        std: channel standard deviations of the inputs.
        quick_gelu: whether to use the activation of OpenAI's weights.
        init_logit_scale: logarithm of the initial logit scale; None for CLIP's log(1 / 0.07).
        init_logit_bias: initial logit bias of a SigLIP model, -10 in the paper (Zhai et al., 2023); None for no bias.
    """
    if not 1 <= embed_dim <= MAX_SIZE:
        raise ValueError(f"embed_dim must be >= 1 and <= {MAX_SIZE}, got {embed_dim}")
    _check_tower("vision_cfg", vision_cfg, open_clip.CLIPVisionCfg, ("image_size",))
    _check_tower("text_cfg", text_cfg, open_clip.CLIPTextCfg, ("context_length",))
    tokenizer, image_size = SimpleTokenizer(context_length=int(text_cfg["context_length"])), vision_cfg["image_size"]
    if isinstance(vision_cfg.get("layers"), int) and vision_cfg.get("patch_size", 1) > image_size:
        raise ValueError(f"vision_cfg.patch_size={vision_cfg['patch_size']} is larger than image_size={image_size}")
    if text_cfg.get("vocab_size", tokenizer.vocab_size) < tokenizer.vocab_size:
        raise ValueError(
            f"text_cfg.vocab_size must be at least the tokenizer's {tokenizer.vocab_size}, got {text_cfg['vocab_size']}"
        )
    scales = {"init_logit_scale": init_logit_scale, "init_logit_bias": init_logit_bias}
    config = {
        "embed_dim": embed_dim,
        "vision_cfg": dict(vision_cfg),
        "text_cfg": dict(text_cfg),
        **{name: value for name, value in scales.items() if value is not None},
    }
    model = ClipModel(open_clip.CLIP(**config, quick_gelu=quick_gelu))
    spec = InputSpec(image_size, _triple(mean), _triple(std), tokenizer, model.trims_text)
    return Backbone(model, spec, {**config, "quick_gelu": quick_gelu})


def _check_tower(name: str, config: Mapping[str, Any], config_class: type, required: Sequence[str]) -> None:
    """Raise ValueError for the first missing, unknown or invalid option of a tower."""
    hints = get_type_hints(config_class)
    for key in required:
        if key not in config:
            raise ValueError(f"{name}.{key} is missing; set it to an integer >= 1")
    for key, value in config.items():
        if key not in hints:
            raise ValueError(f"{name}.{key}: open_clip has no such option of a tower")
        try:
            check_type(tuple(value) if isinstance(value, list) else value, hints[key])
        except TypeCheckError as error:
            raise ValueError(f"{name}.{key}={value} is of the wrong type: {error}") from error
        entries = value if isinstance(value, list | tuple) else [value]
        numbers = [entry for entry in entries if isinstance(entry, int) and not isinstance(entry, bool)]
        if not all(number >= (key not in IDS) and number <= MAX_SIZE for number in numbers):
            raise ValueError(f"{name}.{key} must be >= 1 and <= {MAX_SIZE}, got {value}")


def load_clip(name: str, pretrained: str | None = None, load_weights: bool = True) -> Backbone:
    """Build an open_clip model by name.

    Args:
        name: open_clip architecture (``open_clip.list_models()``), or a ``local-dir:`` or ``hf-hub:`` reference, which
            has its own weights and, where it was exported by this package, possibly a head.
        pretrained: pretrained tag, local file or folder of the architecture's weights; None for random weights.
        load_weights: whether weights are loaded; False leaves them random, to be loaded from elsewhere, and downloads
            nothing for a tag.

    Raises:
        ValueError: weights or tokenizer don't exist, belong to another model, or can't be downloaded.
    """
    reference = name.startswith((HUB, FOLDER))
    source = None if reference or not load_weights else pretrained
    check_pretrained(name, source)
    config = model_config(name)
    local = local_weights(name, source) if load_weights else None
    tokenizer = load_tokenizer(name, config["text_cfg"], None if reference else pretrained)
    preprocessing = {} if reference else _published_preprocessing(name, pretrained)
    try:
        model = open_clip.create_model(
            name,
            pretrained=None if local else source,
            load_weights=load_weights and local is None,
            device=torch.get_default_device(),
            pretrained_text=False,
            require_pretrained=local is None and source is not None,
            force_preprocess_cfg=preprocessing,
        )
        clip = ClipModel(model)
        spec = _spec(clip, tokenizer)
    except Exception as error:  # configurations and weights of any origin raise errors of many classes
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise ValueError(f"name {name!r}: the model can't be built with pretrained={source}: {reason}") from error
    if local is not None:
        load_file(clip, *local, resized=True)
    return Backbone(clip, spec, config)


def _published_preprocessing(name: str, pretrained: str | None) -> dict[str, Any]:
    """Preprocessing options of a tag; of other weights, those that all published weights of the architecture share."""
    tag = open_clip.get_pretrained_cfg(name, pretrained) if pretrained else {}
    published = open_clip.list_pretrained_tags_by_model(name)
    configs = [tag] if tag else [open_clip.get_pretrained_cfg(name, published_tag) for published_tag in published]
    options = [{key: config[key] for key in PREPROCESSING if key in config} for config in configs]
    return options[0] if options and all(values == options[0] for values in options) else {}


def _spec(clip: ClipModel, tokenizer: Any) -> InputSpec:
    """Return the input specification of an open_clip model."""
    preprocessing = open_clip.get_model_preprocess_cfg(clip.model)
    size = preprocessing["size"]
    return InputSpec(
        int(size[0] if isinstance(size, (tuple, list)) else size),
        _triple(preprocessing["mean"]),
        _triple(preprocessing["std"]),
        tokenizer,
        clip.trims_text,
        str(preprocessing["interpolation"]),
        str(preprocessing["resize_mode"]),
    )
