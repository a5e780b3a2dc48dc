"""Loading weights into a model, without ever executing a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tracer_lightning.functional.parametrized import merge
from tracer_lightning.models.clip import ClipModel
from tracer_lightning.storage import COMPRESSED, check_tensors

TEACHER = "teacher.module."
STUDENT = "student."
CLIP = "model."
"""What :class:`ClipModel` puts before open_clip's own names."""
HEAD = "head.weight"
"""(C, D) of a student with a head."""
HEAD_FILE = "head.safetensors"
"""Weight (C, D) and bias (C,) of a classifier: logits are the normalised image features @ weight.T + bias."""
PREFIXES = ("module.", CLIP, "")
"""What other checkpoints and exports put there."""
ADDED = ".parametrizations."
"""In the names of weights that are updated by LoRA."""
CHECKPOINT = "checkpoints/last.ckpt"
"""Where a run's folder has its checkpoint."""


def read_checkpoint(path: Path, setting: str) -> dict[str, Any]:
    """The dictionary in a checkpoint, state dict or safetensors file; nothing in it is executed.

    Args:
        path: the file; large ones are mapped rather than read.
        setting: what the user set to name the file, for errors.
    """
    if not path.is_file():
        raise ValueError(f"{setting}={path}: no such file")
    try:
        check_tensors(path)
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # what else a forged file makes torch raise, nobody lists
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "Weights only load failed" in reason:  # torch goes on with how to execute it all the same
            reason = "a pickle of something else, which is not executed"
        if "TorchScript" in reason or reason.startswith(COMPRESSED):
            archive = COMPRESSED if reason.startswith(COMPRESSED) else "an archive"
            reason = f"{archive}, perhaps the TorchScript that OpenAI published; the copies on the hub are not"
        raise ValueError(
            f"{setting}={path}: not a file of plain weights ({reason}); "
            "give a checkpoint of this project, a state dict, or safetensors"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{setting}={path}: holds a {type(content).__name__}, not a checkpoint or state dict")
    if not isinstance(content.get("state_dict", {}), Mapping) or not all(
        isinstance(name, str) for name in [*content, *content.get("state_dict", ())]
    ):
        raise ValueError(f"{setting}={path}: its state_dict is none; give a checkpoint, a state dict, or safetensors")
    return content


def has_teacher(path: Path, setting: str) -> bool | None:
    """Whether a checkpoint holds a teacher beside its student; None where it holds weights of one model only."""
    names = read_checkpoint(path, setting).get("state_dict", {})
    if not any(name.startswith(STUDENT) for name in names):
        return None
    return any(name.startswith(TEACHER) for name in names)


def load_weights(model: ClipModel, path: str | Path, setting: str = "init_weights", teacher: bool = False) -> None:
    """Load the student of a checkpoint, or a bare open_clip state dict, into ``model``.

    Args and errors are those of :func:`fitting_weights`.
    """
    model.load_state_dict(fitting_weights(model, path, setting, teacher))


def fitting_weights(
    model: ClipModel, path: str | Path, setting: str = "init_weights", teacher: bool = False
) -> dict[str, Tensor]:
    """The weights of a file, one tensor of the same name and shape for each of the model's.

    Args:
        model: may be on the meta device, and so checked before any memory is taken; it gets a head where the file has
            one, and its low-rank updates are merged where the file has none.
        path: run folder, Lightning checkpoint, state dict or safetensors file.
        setting: what the user set to name the file, for errors.
        teacher: load the teacher of a checkpoint instead.

    Raises:
        ValueError: the file is missing, holds more than weights, or belongs to another architecture.
    """
    path = Path(path)
    path = path / CHECKPOINT if path.is_dir() else path
    content = read_checkpoint(path, setting)
    state = {name: value for name, value in content.get("state_dict", content).items() if isinstance(value, Tensor)}
    state = _of_model(state, TEACHER if teacher else STUDENT)
    if teacher and not state:
        raise ValueError(f"{setting}={path}: holds no teacher; choose the student")
    check_plain(state, f"{setting}={path}")
    if HEAD in state:
        model.head = _head(state[HEAD], f"{setting}={path}")
    if not any(ADDED in name for name in state):
        merge(model)  # the file has weights as they are
    _check_fit(model.state_dict(), state, f"{setting}={path}")
    return state


def load_head(model: ClipModel, folder: Path) -> None:
    """Give the model the head that was exported to the folder beside it, if there is one."""
    if (folder / HEAD_FILE).is_file():
        state, given = read_checkpoint(folder / HEAD_FILE, "head"), f"head={folder / HEAD_FILE}"
        check_plain(state, given)
        if state.keys() != {"weight", "bias"}:
            raise ValueError(f"{given}: must hold weight and bias, found {', '.join(sorted(state))[:100]}")
        model.head = _head(state["weight"], given)
        _check_fit(model.head.state_dict(), state, given)
        model.head.load_state_dict(state)


def _head(weight: Tensor, given: str) -> nn.Linear:
    """A head of the weight's shape (C, D)."""
    if weight.ndim != 2 or not all(weight.shape):
        raise ValueError(f"{given}: its head has the shape {tuple(weight.shape)}, not (classes, features)")
    classes, width = weight.shape
    return nn.Linear(width, classes)


def check_plain(state: Mapping[str, Tensor], given: str) -> None:
    """Raise ValueError for a tensor that is not as large as it says, or holds no real numbers."""
    for name, value in state.items():
        plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.is_complex() or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{given}: {name} is no plain tensor of numbers ({value.dtype}, {value.device})")


def _check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], given: str) -> None:
    """Raise ValueError for the first tensor that a model's own state and a file's disagree on."""
    if len(own) < len(state) and any(ADDED in name for name in state):
        raise ValueError(f"{given}: of a run with peft=lora; export it, and take the export")
    for name, value in own.items():
        short = name.removeprefix(CLIP)
        if name not in state:
            raise ValueError(f"{given}: lacks {short}; the file is of another architecture than backbone=")
        if state[name].shape != value.shape:
            raise ValueError(
                f"{given}: {short} has shape {tuple(state[name].shape)} and the backbone's {tuple(value.shape)}; "
                "choose the backbone= that the file was trained with"
            )
    surplus = sorted(set(state) - set(own))
    if surplus:
        name = surplus[0].removeprefix(CLIP)
        raise ValueError(f"{given}: holds {name}, which the backbone lacks; choose another backbone=")


def _of_model(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of one model, by the names of :class:`ClipModel`."""
    if any(name.startswith((STUDENT, TEACHER)) for name in state):
        return {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}
    if part == TEACHER:
        return {}
    prefix = next(p for p in PREFIXES if any(name.startswith(p) for name in state) or not p)
    return {CLIP + name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
