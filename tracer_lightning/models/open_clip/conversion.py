"""Conversion of weights of CLIP models to the names of :class:`tracer_lightning.models.ClipModel`."""

from __future__ import annotations

import math

from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed
from torch import Tensor, nn

from tracer_lightning.models.fitting import BIAS, SCALE
from tracer_lightning.models.open_clip.hugging_face import is_hugging_face, to_open_clip
from tracer_lightning.models.open_clip.state_dicts import CLIP

POSITIONS = "visual.positional_embedding"
"""Name of a ViT's position embeddings (1 + patches, width)."""


def to_clip_model(clip: nn.Module, state: dict[str, Tensor], where: str, resized: bool) -> dict[str, Tensor]:
    """Convert weights of a file to the names of a :class:`ClipModel`; those of our own files have them already.

    Args:
        clip: the open_clip model that they are for.
        state: tensors of the file by name.
        where: the file, for errors.
        resized: whether a ViT's position embeddings are interpolated where they belong to another image size.
    """
    if any(name.startswith(CLIP) for name in state):
        return state
    return _for_open_clip(clip, to_open_clip(state, where) if is_hugging_face(state) else state, resized)


def _for_open_clip(clip: nn.Module, state: dict[str, Tensor], resized: bool) -> dict[str, Tensor]:
    """Convert weights like open_clip does when it loads them, to the names of :class:`ClipModel`."""
    if hasattr(getattr(clip, "visual", None), "trunk"):
        state = convert_state_dict(clip, state)
    if not hasattr(clip, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    expected = clip.state_dict()
    for name in (SCALE, BIAS):
        if name in state and name in expected and state[name].numel() == expected[name].numel() == 1:
            state[name] = state[name].reshape(expected[name].shape)
    if resized and POSITIONS in state and POSITIONS in expected and _is_grid(state[POSITIONS], expected[POSITIONS]):
        resize_pos_embed(state, clip)
    return {CLIP + name: value for name, value in state.items()}


def _is_grid(positions: Tensor, model_positions: Tensor) -> bool:
    """Whether a tensor has the form of position embeddings (1 + n², width) with the model's width."""
    square = positions.ndim == 2 and len(positions) > 1 and math.isqrt(len(positions) - 1) ** 2 == len(positions) - 1
    return square and positions.shape[1] == model_positions.shape[1]
