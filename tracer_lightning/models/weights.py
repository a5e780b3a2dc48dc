"""Loading weights into a model, without ever executing a pickle."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tracer_lightning.models.clip import ClipModel

PREFIXES = ("student.model.", "module.", "model.", "")
"""What checkpoints of this project, of open_clip's training, and exports put before open_clip's own names."""


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"init_weights={path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"init_weights={path}: not a file of plain weights ({reason}); "
            "give a checkpoint of this project, a state dict, or safetensors"
        ) from error
    state = content.get("state_dict", content)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def load_weights(model: ClipModel, path: str | Path) -> None:
    """Load the student of a checkpoint, or a bare open_clip state dict, into ``model``.

    Args:
        model: changed in place.
        path: Lightning checkpoint, state dict or safetensors file.

    Raises:
        ValueError: the file is missing, holds more than weights, or belongs to another architecture.
    """
    path = Path(path)
    state = _read(path)
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
