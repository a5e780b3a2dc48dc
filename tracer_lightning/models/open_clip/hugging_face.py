"""Conversion of CLIP weights of the ``transformers`` library, and checks of the configuration beside them."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.storage import read_text

TOWERS = ("vision_model.", "text_model.")
CONFIG = "config.json"
"""File name of the configuration beside the weights."""
NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
}
"""Names of weights in open_clip by their name in ``transformers``."""
TRANSPOSED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
"""Names in open_clip of weights that it stores transposed."""
PARTS = {
    "vision_model.pre_layrnorm.": "visual.ln_pre.",
    "vision_model.post_layernorm.": "visual.ln_post.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.encoder.layers.": "transformer.resblocks.",
    ".self_attn.out_proj.": ".attn.out_proj.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
}
"""Parts of names in open_clip by their counterparts in ``transformers``."""
ATTENTION = re.compile(r"(.*)\.self_attn\.([qkv])_proj\.(weight|bias)")
"""Pattern of the names of query, key and value weights, which open_clip stores as one tensor."""
END_TOKEN = "eos_token_id"
HIGHEST = 2
"""End token that stands for the token of the highest id, as in the configurations of OpenAI's models."""
DEFAULTS = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
"""Default settings of a tower."""


def is_hugging_face(names: Iterable[str]) -> bool:
    """Whether names of weights are those of the ``transformers`` library."""
    return any(name.startswith(TOWERS) for name in names)


def to_open_clip(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Convert weights to open_clip's names and shapes.

    Args:
        state: weights of a ``CLIPModel`` of the ``transformers`` library.
        where: name of the file, for errors.

    Raises:
        ValueError: an attention lacks queries, keys or values.
    """
    return dict(_convert(state, where))


def _convert(state: Mapping[str, Tensor], where: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in state.items():
        attention = ATTENTION.fullmatch(name)
        if attention is None:
            yield _rename(name), value.T if name in TRANSPOSED and value.ndim == 2 else value
        elif attention[2] == "q":
            names = [f"{attention[1]}.self_attn.{part}_proj.{attention[3]}" for part in "qkv"]
            for part in names:
                if part not in state or state[part].shape != value.shape or value.ndim == 0:
                    raise ValueError(
                        f"{where}: lacks {part}, or it has another shape than {name}; use a complete model"
                    )
            yield f"{_rename(attention[1] + '.')}attn.in_proj_{attention[3]}", torch.cat([state[n] for n in names])


def _rename(name: str) -> str:
    if new := NAMES.get(name, TRANSPOSED.get(name)):
        return new
    for part, new in PARTS.items():
        name = name.replace(part, new)
    return name


def check_config(model: ClipModel, file: Path, where: str) -> None:
    """Raise ValueError where a backbone differs from the configuration beside the weights.

    Activation, number of heads and end token can't be inferred from the shapes of weights: with wrong ones, the model
    silently computes wrong features. A missing configuration causes a warning.

    Args:
        model: backbone whose shapes fit the weights.
        file: file of the weights.
        where: name of the file, for errors.
    """
    path = file.parent / CONFIG
    if not path.is_file():
        warnings.warn(
            f"{where}: no {CONFIG} beside these weights of the transformers library tells their activation; OpenAI's "
            "weights need a backbone whose name ends in -quickgelu",
            stacklevel=2,
        )
        return
    clip = model.model
    text = getattr(clip, "text", clip)
    settings = {name: _tower_settings(path, f"{name}_config", where) for name in ("vision", "text")}
    for name, tower in (("vision", clip.visual), ("text", text.transformer)):
        backbone_settings = _backbone_settings(tower)
        for key, value in settings[name].items():
            if key in backbone_settings and value != backbone_settings[key]:
                raise ValueError(
                    f"{where}: according to {path}, its {name} tower has {key}={value!r:.40}, but the backbone has "
                    f"{backbone_settings[key]!r}; choose another backbone (-quickgelu names have quick_gelu)"
                )
    end, highest = settings["text"].get(END_TOKEN, HIGHEST), text.vocab_size - 1
    if end not in (HIGHEST, highest):
        raise ValueError(
            f"{where}: according to {path}, its texts end with token {end!r:.40}, but the backbone's with {highest}; "
            "these weights are not supported"
        )


def _tower_settings(path: Path, tower: str, where: str) -> dict[str, Any]:
    """Read the settings of a tower from a configuration."""
    try:
        config = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {path} is not valid JSON ({type(error).__name__}); remove or repair it") from error
    settings = config.get(tower, {}) if isinstance(config, dict) else None
    if not isinstance(settings, dict):
        raise ValueError(f"{where}: {path} is not the configuration of a CLIPModel; remove or repair it")
    return {**DEFAULTS, **settings}


def _backbone_settings(tower: nn.Module) -> dict[str, Any]:
    """Return the corresponding settings of an open_clip tower."""
    modules = list(tower.modules())
    return {
        "hidden_act": "quick_gelu" if any(isinstance(module, QuickGELU) for module in modules) else "gelu",
        "layer_norm_eps": next(module.eps for module in modules if isinstance(module, nn.LayerNorm)),
        "num_attention_heads": next(m.num_heads for m in modules if isinstance(m, nn.MultiheadAttention)),
    }
