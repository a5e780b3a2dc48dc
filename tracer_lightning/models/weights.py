"""Loading weights into a model, whoever saved them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed
from torch import Tensor, nn

from tracer_lightning.functional.lora_merge import merge
from tracer_lightning.models.files import HEAD_FILE, read_checkpoint, weights_path
from tracer_lightning.models.fitting import ADDED, SCALE, check_fit
from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.open_clip.hugging_face import check_config, is_hugging_face, to_open_clip
from tracer_lightning.models.open_clip.state_dicts import CLIP, TEACHER, is_of_run, model_state

HEAD = "head.weight"
"""(C, D) of a student with a head."""
GRID = "visual.positional_embedding"
"""(1 + patches, width)."""


def has_teacher(path: Path, setting: str) -> bool | None:
    """Whether a checkpoint holds a teacher beside its student; None where it holds weights of one model only."""
    content = read_checkpoint(path, setting)
    return any(name.startswith(TEACHER) for name in content["state_dict"]) if is_of_run(content) else None


def load_weights(
    model: ClipModel, path: str | Path, setting: str = "init_weights", teacher: bool = False, resized: bool = False
) -> None:
    """Load the student of a checkpoint, or the weights of one CLIP model, into ``model``; of a folder, its head, too.

    Args and errors are those of :func:`fitting_weights`.
    """
    model.load_state_dict(fitting_weights(model, path, setting, teacher, resized))
    if Path(path).is_dir():
        load_head(model, Path(path))


def fitting_weights(
    model: ClipModel, path: str | Path, setting: str = "init_weights", teacher: bool = False, resized: bool = False
) -> dict[str, Tensor]:
    """The weights of a file, one tensor of the same name and shape for each of the model's.

    Args:
        model: may be on the meta device, and so checked before any memory is taken; it gets a head where the file has
            one, and its low-rank updates are merged where the file has none.
        path: file of weights, or a folder that :func:`weights_path` finds one in.
        setting: what the user set to name the file, for errors.
        teacher: load the teacher of a checkpoint instead.
        resized: interpolate a ViT's position embeddings, where they are of images of another size.

    Raises:
        ValueError: the file is missing, holds more than weights, or belongs to another architecture.
    """
    path = weights_path(Path(path), setting)
    where = f"{setting}={path}"
    content = read_checkpoint(path, setting)
    state = model_state(content, teacher, where)
    if teacher and not state:
        raise ValueError(f"{where}: holds no teacher; choose the student")
    check_plain(state, where)
    foreign = is_hugging_face(state)
    if not any(name.startswith(CLIP) for name in state):
        state = _for_open_clip(model.model, to_open_clip(state, where) if foreign else state, resized)
    if HEAD in state:
        model.head = _head(state[HEAD], where)
    if not any(ADDED in name for name in state):
        merge(model)  # the file has weights as they are
    check_fit(model.state_dict(), state, where)
    if foreign:
        check_config(model, path, where)
    return state


def _for_open_clip(clip: nn.Module, state: dict[str, Tensor], resized: bool) -> dict[str, Tensor]:
    """Weights as open_clip itself would take them into a model of this kind, by the names of :class:`ClipModel`."""
    if hasattr(getattr(clip, "visual", None), "trunk"):
        state = convert_state_dict(clip, state)
    if not hasattr(clip, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    own = clip.state_dict()
    if SCALE in state and state[SCALE].numel() == own[SCALE].numel() == 1:
        state[SCALE] = state[SCALE].reshape(own[SCALE].shape)
    if resized and GRID in state and GRID in own and _is_grid(state[GRID], own[GRID]):
        resize_pos_embed(state, clip)
    return {CLIP + name: value for name, value in state.items()}


def _is_grid(positions: Tensor, own: Tensor) -> bool:
    """Whether these are position embeddings (1 + n², width) of the width of the model's own."""
    square = positions.ndim == 2 and len(positions) > 1 and math.isqrt(len(positions) - 1) ** 2 == len(positions) - 1
    return square and positions.shape[1] == own.shape[1]


def load_head(model: ClipModel, folder: Path) -> None:
    """Give the model the head that was exported to the folder beside it, if there is one."""
    if (folder / HEAD_FILE).is_file():
        state, where = read_checkpoint(folder / HEAD_FILE, "head"), f"head={folder / HEAD_FILE}"
        check_plain(state, where)
        if state.keys() != {"weight", "bias"}:
            raise ValueError(f"{where}: must hold weight and bias, found {', '.join(sorted(state))[:100]}")
        model.head = _head(state["weight"], where)
        check_fit(model.head.state_dict(), state, where)
        model.head.load_state_dict(state)


def _head(weight: Tensor, where: str) -> nn.Linear:
    """A head of the weight's shape (C, D)."""
    if weight.ndim != 2 or not all(weight.shape):
        raise ValueError(f"{where}: its head has the shape {tuple(weight.shape)}, not (classes, features)")
    classes, width = weight.shape
    return nn.Linear(width, classes)


def check_plain(state: Mapping[str, Tensor], where: str) -> None:
    """Raise ValueError for a tensor that is not as large as it says, or holds no real numbers."""
    for name, value in state.items():
        plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.is_complex() or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{where}: {name} is no plain tensor of numbers ({value.dtype}, {value.device})")
