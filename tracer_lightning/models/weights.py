"""Loading weights into a model, without ever executing a pickle."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tracer_lightning.models.clip import ClipModel

PREFIXES = ("student.model.", "module.", "model.", "")
"""What checkpoints of this project, of open_clip's training, and exports put before open_clip's own names."""


def read_checkpoint(path: Path, setting: str) -> dict[str, Any]:
    """The dictionary in a checkpoint, state dict or safetensors file; nothing in it is executed.

    Args:
        path: the file; large ones are mapped rather than read.
        setting: what the user set to name the file, for errors.
    """
    if not path.is_file():
        raise ValueError(f"{setting}={path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, struct.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "TorchScript" in reason:
            reason = "a TorchScript archive, as OpenAI published; the copies on the hub are not"
        raise ValueError(
            f"{setting}={path}: not a file of plain weights ({reason}); "
            "give a checkpoint of this project, a state dict, or safetensors"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{setting}={path}: holds a {type(content).__name__}, not a checkpoint or state dict")
    return content


def load_weights(model: ClipModel, path: str | Path) -> None:
    """Load the student of a checkpoint, or a bare open_clip state dict, into ``model``.

    Args:
        model: changed in place.
        path: run folder, Lightning checkpoint, state dict or safetensors file.

    Raises:
        ValueError: the file is missing, holds more than weights, or belongs to another architecture.
    """
    path = Path(path)
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    content = read_checkpoint(path, "init_weights")
    state = {name: value for name, value in content.get("state_dict", content).items() if isinstance(value, Tensor)}
    prefix = next(p for p in PREFIXES if any(name.startswith(p) for name in state) or not p)
    state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    own = model.model.state_dict()
    for name, value in own.items():
        if name not in state:
            raise ValueError(f"init_weights={path}: lacks {name}; the file is of another architecture than backbone=")
        if state[name].shape != value.shape:
            raise ValueError(
                f"init_weights={path}: {name} has shape {tuple(state[name].shape)} and the backbone's "
                f"{tuple(value.shape)}; choose the backbone= that the file was trained with"
            )
    surplus = sorted(set(state) - set(own))
    if surplus:
        raise ValueError(f"init_weights={path}: holds {surplus[0]}, which the backbone lacks; choose another backbone=")
    model.model.load_state_dict(state)
