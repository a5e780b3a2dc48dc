"""Loading weights of various formats into a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tracer_lightning.functional.lora_merge import merge
from tracer_lightning.models.files import HEAD_FILE, read_checkpoint, weights_path
from tracer_lightning.models.fitting import ADDED, check_fit
from tracer_lightning.models.model import Model
from tracer_lightning.models.open_clip.state_dicts import TEACHER, is_run_checkpoint, model_state
from tracer_lightning.models.value_heads import PixelHead, ValueHead

HEAD = "head.weight"
"""Name of the weight (C, D) of a student's head."""


def has_teacher(path: Path, setting: str) -> bool | None:
    """Whether a checkpoint contains a teacher and a student; None where it contains a single model."""
    content = read_checkpoint(path, setting)
    return any(name.startswith(TEACHER) for name in content["state_dict"]) if is_run_checkpoint(content) else None


def load_weights(
    model: Model, path: str | Path, setting: str = "init_weights", teacher: bool = False, resized: bool = False
) -> None:
    """Load the student of a checkpoint, or the weights of a CLIP model, into ``model``; from a folder, also its head.

    Arguments and errors are those of :func:`read_weights`.
    """
    model.load_state_dict(read_weights(model, path, setting, teacher, resized))
    if Path(path).is_dir():
        load_head(model, Path(path), setting)


def read_weights(
    model: Model, path: str | Path, setting: str = "init_weights", teacher: bool = False, resized: bool = False
) -> dict[str, Tensor]:
    """Read weights from a file, with exactly the names and shapes of the model's state dict.

    Args:
        model: model that the weights must fit, possibly on the meta device, where the check needs no memory. It gets a
            head where the file has one, and its low-rank updates are merged where the file has none.
        path: file of weights, or a folder with weights (see :func:`tracer_lightning.models.files.weights_path`).
        setting: name of the setting that contains the path, for errors.
        teacher: whether to read the teacher of a checkpoint instead of its student.
        resized: whether a ViT's position embeddings are interpolated where they belong to another image size.

    Raises:
        ValueError: the file is missing, contains more than weights, or belongs to another architecture.
    """
    path = weights_path(Path(path), setting)
    where = f"{setting}={path}"
    content = read_checkpoint(path, setting)
    state = model_state(content, teacher, where)
    if teacher and not state:
        raise ValueError(f"{where}: contains no teacher; use the student")
    check_plain(state, where)
    source_names = tuple(state)
    state = model.convert_weights(state, where, resized)
    if HEAD in state:
        model.head = _empty_head(_of_head(state), where)
    if not any(ADDED in name for name in state):
        merge(model)  # the file has merged weights
    check_fit(model.state_dict(), state, where)
    model.check_source(source_names, path, where)
    return state


def load_head(model: Model, folder: Path, setting: str) -> None:
    """Load the head in an exported model's folder, if there is one."""
    if (folder / HEAD_FILE).is_file():
        state, where = read_checkpoint(folder / HEAD_FILE, setting), f"{setting}={folder / HEAD_FILE}"
        check_plain(state, where)
        if state.keys() != {"weight", "bias"}:
            raise ValueError(f"{where}: must contain weight and bias, found {', '.join(sorted(state))[:100]}")
        model.head = _empty_head(state, where)
        check_fit(model.head.state_dict(), state, where)
        model.head.load_state_dict(state)


def _of_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the head among those of a model, by their names within the head."""
    prefix = HEAD.removesuffix("weight")
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _empty_head(state: Mapping[str, Tensor], where: str) -> nn.Linear:
    """Create a head of the same kind and shapes: of classes, or of values or pixels, which have a mean."""
    weight, mean = state["weight"], state.get("mean")
    if weight.ndim != 2 or not all(weight.shape):
        raise ValueError(f"{where}: its head has the shape {tuple(weight.shape)}, not (classes, features)")
    classes, width = weight.shape
    if mean is None:
        return nn.Linear(width, classes)
    return ValueHead(width, classes) if mean.ndim == 1 else PixelHead(width, classes, mean.shape)


def check_plain(state: Mapping[str, Tensor], where: str) -> None:
    """Raise ValueError for a tensor that is larger than its storage, or does not contain real numbers."""
    for name, value in state.items():
        plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.is_complex() or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{where}: {name} is not a plain tensor of real numbers ({value.dtype}, {value.device})")
