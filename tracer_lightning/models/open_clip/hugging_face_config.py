"""The configuration beside weights of the ``transformers`` library, compared with an open_clip model."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from open_clip.transformer import QuickGELU
from torch import nn

from tracer_lightning.models.open_clip.clip import ClipModel, transformer_blocks
from tracer_lightning.storage import read_text

CONFIG = "config.json"
"""File name of the configuration beside the weights."""
END_TOKEN = "eos_token_id"
HIGHEST = 2
"""End token that stands for the token of the highest id, as in the configurations of OpenAI's models."""
CLIP_DEFAULTS = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
"""Default settings of a tower of a CLIP model."""
SIGLIP_DEFAULTS = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "num_attention_heads": 12}
"""Default settings of a tower of a SigLIP model."""
SIMILAR = {"gelu", "gelu_pytorch_tanh"}
"""Activations that differ by less than 5e-4; open_clip's SigLIP models have the first, the original ones the second."""


class TowerSettings(NamedTuple):
    """Settings of a tower that the shapes of its weights don't determine, as ``transformers`` names them."""

    hidden_act: str
    layer_norm_eps: float
    num_attention_heads: int


def tower_settings(model: ClipModel, tower: str) -> TowerSettings:
    """Settings of the ``vision`` or ``text`` tower of a model with open_clip's transformers or timm's ViT."""
    clip = model.model
    (block, *_) = transformer_blocks(clip.visual if tower == "vision" else clip) or [nn.Identity()]
    norm = next(module for module in block.modules() if isinstance(module, nn.LayerNorm))
    activation = next(module for module in block.modules() if isinstance(module, nn.GELU | QuickGELU))
    if isinstance(activation, QuickGELU):
        return TowerSettings("quick_gelu", norm.eps, block.attn.num_heads)
    name = "gelu_pytorch_tanh" if activation.approximate == "tanh" else "gelu"
    return TowerSettings(name, norm.eps, block.attn.num_heads)


def check_config(model: ClipModel, file: Path, where: str) -> None:
    """Raise ValueError where a backbone differs from the configuration beside the weights.

    Activation, number of heads and end token can't be inferred from the shapes of weights: with wrong ones, the model
    silently computes wrong features. A missing configuration and a slightly different activation cause warnings.

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
    defaults = CLIP_DEFAULTS if model.logit_bias is None else SIGLIP_DEFAULTS
    settings = {tower: {**defaults, **_read_settings(path, tower, where)} for tower in ("vision", "text")}
    for tower, values in settings.items():
        for key, own in tower_settings(model, tower)._asdict().items():
            if key not in values or values[key] == own:
                continue
            difference = (
                f"{where}: according to {path}, its {tower} tower has {key}={values[key]!r:.40}, but the backbone has "
                f"{own!r}"
            )
            if {str(values[key]), own} != SIMILAR:
                raise ValueError(f"{difference}; choose another backbone (-quickgelu names have quick_gelu)")
            warnings.warn(f"{difference}, as in open_clip; features differ slightly", stacklevel=2)
    end = settings["text"].get(END_TOKEN, HIGHEST)
    with torch.device("cpu"):  # the model may be checked on the meta device, where tokens have no values
        last = int(open_clip.tokenize("").max())
    token = min(last, model.model.vocab_size - 1)  # further tokens occur in no text
    if model.logit_bias is None and end not in (HIGHEST, token):
        raise ValueError(
            f"{where}: according to {path}, its texts end with token {end!r:.40}, but the backbone's with {token}; "
            "these weights are not supported"
        )


def _read_settings(path: Path, tower: str, where: str) -> dict[str, Any]:
    """Read the settings of a tower from a configuration."""
    try:
        config = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {path} is not valid JSON ({type(error).__name__}); remove or repair it") from error
    settings = config.get(f"{tower}_config", {}) if isinstance(config, dict) else None
    if not isinstance(settings, dict):
        raise ValueError(f"{where}: {path} is not the configuration of a CLIPModel; remove or repair it")
    return settings
