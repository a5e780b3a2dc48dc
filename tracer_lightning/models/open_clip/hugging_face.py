"""CLIP as the ``transformers`` library saves it: its names of weights, and what its configuration says beside them."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.storage import read_text

TOWERS = ("vision_model.", "text_model.")
CONFIG = "config.json"
"""The name of the configuration beside the weights."""
WHOLE = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
}
"""Names that are others in open_clip."""
TRANSPOSED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
"""Names of weights that open_clip keeps transposed."""
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
"""Parts of names that are others in open_clip."""
ATTENTION = re.compile(r"(.*)\.self_attn\.([qkv])_proj\.(weight|bias)")
"""The names of queries, keys and values, which open_clip keeps as one."""
TOKENS_END = "eos_token_id"
HIGHEST = 2
"""The end of texts that stands for the token of the highest id, as in the configurations of OpenAI's models."""
DEFAULTS = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
"""The values of a tower whose configuration leaves them out."""


def is_hugging_face(state: Mapping[str, Tensor]) -> bool:
    """Whether weights have the names of the ``transformers`` library."""
    return any(name.startswith(TOWERS) for name in state)


def to_open_clip(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The same weights by open_clip's names and in its shapes.

    Args:
        state: weights of a ``CLIPModel`` of the ``transformers`` library.
        where: the file, for errors.

    Raises:
        ValueError: an attention lacks queries, keys or values.
    """
    return dict(_converted(state, where))


def _converted(state: Mapping[str, Tensor], where: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in state.items():
        attention = ATTENTION.fullmatch(name)
        if attention is None:
            yield _renamed(name), value.T if name in TRANSPOSED and value.ndim == 2 else value
        elif attention[2] == "q":
            names = [f"{attention[1]}.self_attn.{part}_proj.{attention[3]}" for part in "qkv"]
            for part in names:
                if part not in state or state[part].shape != value.shape or value.ndim == 0:
                    raise ValueError(f"{where}: lacks {part}, or it has another shape than {name}; give a whole model")
            yield f"{_renamed(attention[1] + '.')}attn.in_proj_{attention[3]}", torch.cat([state[n] for n in names])


def _renamed(name: str) -> str:
    if new := WHOLE.get(name, TRANSPOSED.get(name)):
        return new
    for part, new in PARTS.items():
        name = name.replace(part, new)
    return name


def check_config(model: ClipModel, file: Path, where: str) -> None:
    """Raise ValueError where a backbone computes otherwise than the configuration beside the weights says.

    Activation, heads and the end of texts are in no shape of any weight: a model without the right ones gives
    features that look fine, and are not. Without a configuration there is a warning.

    Args:
        model: the backbone, which the weights fit.
        file: of the weights.
        where: that file, for errors.
    """
    path = file.parent / CONFIG
    if not path.is_file():
        warnings.warn(
            f"{where}: no {CONFIG} beside these weights of the transformers library says their activation; OpenAI's "
            "need a backbone= whose name ends in -quickgelu",
            stacklevel=2,
        )
        return
    clip = model.model
    text = getattr(clip, "text", clip)
    settings = {name: _tower_settings(path, f"{name}_config", where) for name in ("vision", "text")}
    for name, tower in (("vision", clip.visual), ("text", text.transformer)):
        own = _own_settings(tower)
        for key, value in settings[name].items():
            if key in own and value != own[key]:
                raise ValueError(
                    f"{where}: its {name} tower has {key}={value!r:.40}, says {path}, and the backbone {own[key]!r}; "
                    "choose the backbone= that computes so (names that end in -quickgelu have quick_gelu)"
                )
    end, highest = settings["text"].get(TOKENS_END, HIGHEST), text.vocab_size - 1
    if end not in (HIGHEST, highest):
        raise ValueError(
            f"{where}: its texts end with token {end!r:.40}, says {path}, and the backbone's with {highest}; "
            "these weights can't be taken"
        )


def _tower_settings(path: Path, tower: str, where: str) -> dict[str, Any]:
    """What a configuration says of a tower."""
    try:
        config = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {path} is no JSON ({type(error).__name__}); take it away or mend it") from error
    settings = config.get(tower, {}) if isinstance(config, dict) else None
    if not isinstance(settings, dict):
        raise ValueError(f"{where}: {path} is no configuration of a CLIPModel; take it away or mend it")
    return {**DEFAULTS, **settings}


def _own_settings(tower: nn.Module) -> dict[str, Any]:
    """The same settings of a tower of open_clip's."""
    modules = list(tower.modules())
    return {
        "hidden_act": "quick_gelu" if any(isinstance(module, QuickGELU) for module in modules) else "gelu",
        "layer_norm_eps": next(module.eps for module in modules if isinstance(module, nn.LayerNorm)),
        "num_attention_heads": next(m.num_heads for m in modules if isinstance(m, nn.MultiheadAttention)),
    }
