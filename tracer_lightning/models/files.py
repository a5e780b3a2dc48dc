"""Locating and safely loading files of weights."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from safetensors.torch import load_file

from tracer_lightning.storage import MANY_FILES, STAND_INS, check_tensors, read_text
from tracer_lightning.storage.run_layout import CHECKPOINT

HEAD_FILE = "head.safetensors"
"""File of a classifier's weight (C, D) and bias (C,): logits are normalised image features @ weight.T + bias."""
PREFERRED = (
    "open_clip_model.safetensors",
    HF_SAFE_WEIGHTS_NAME,
    "open_clip_pytorch_model.safetensors",
    HF_WEIGHTS_NAME,
    "model.safetensors",
    "pytorch_model.bin",
)
"""Names of weights in folders written by open_clip or the ``transformers`` library; the first existing one counts."""
INDEX = "model.safetensors.index.json"
"""Index of weights in several files, as the ``transformers`` library writes large models."""
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Suffixes of files of weights."""
REMEDY = "give a checkpoint of this project, a state dict, or safetensors"
SHARDED = (
    "a sharded checkpoint, with one part per process; convert it to a single file: "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE"
)


def weights_path(path: Path, setting: str) -> Path:
    """Return the file of weights at a path: the path itself, or the weights in a run's, exported or downloaded folder.

    Of weights in several safetensors files, it is their index.

    Args:
        path: file or folder; it need not exist.
        setting: name of the setting that contains the path, for errors.

    Raises:
        ValueError: the folder has no weights, several files of weights, weights in parts that can't be joined, or ONNX
            models.
    """
    if not path.is_dir():
        return path
    if any(path.glob("*.distcp")):
        raise ValueError(f"{setting}={path}: {SHARDED}")
    if (path / CHECKPOINT).is_dir():
        return weights_path(path / CHECKPOINT, setting)
    for name in (CHECKPOINT, *PREFERRED, INDEX):
        if (path / name).exists():
            return path / name
    if any(path.glob("*.index.json")):
        raise ValueError(f"{setting}={path}: contains {MANY_FILES}")
    if any(path.glob("*.onnx")):
        raise ValueError(
            f"{setting}={path}: ONNX models, which ONNX Runtime runs and this program doesn't; use the run that they "
            "were exported from, or export it for open_clip"
        )
    names = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES and file.name != HEAD_FILE)
    if len(names) == 1:
        return path / names[0]
    if names:
        raise ValueError(f"{setting}={path}: contains several files of weights; use one of {', '.join(names[:9])}")
    raise ValueError(
        f"{setting}={path / CHECKPOINT}: no such file, nor other weights in that folder; use the file's path"
    )


def read_checkpoint(path: Path, setting: str) -> dict[str, Any]:
    """Load the dictionary in a checkpoint, state dict or safetensors file, without executing code in it.

    Args:
        path: path of the file, which is memory-mapped where possible.
        setting: name of the setting that contains the path, for errors.

    Raises:
        ValueError: the file is missing, unreadable, or contains anything but plain weights.
    """
    where = f"{setting}={path}"
    with _readable_errors(where):
        content = _load(path)
    if not isinstance(content, dict):
        raise ValueError(f"{where}: contains a {type(content).__name__}, not a checkpoint or state dict")
    if not isinstance(content.get("state_dict", {}), Mapping) or not all(
        isinstance(name, str) for name in [*content, *content.get("state_dict", ())]
    ):
        raise ValueError(f"{where}: its state_dict is not a state dict; {REMEDY}")
    return content


def check_weights(path: Path, setting: str) -> None:
    """Raise ValueError for a file that :func:`read_checkpoint` rejects before it reads any weights."""
    with _readable_errors(f"{setting}={path}"):
        for file in _files(path):
            check_tensors(file)


def _files(path: Path) -> list[Path]:
    """The files of the weights at a path: itself or, of an index, the safetensors files in its folder that it names."""
    if path.name != INDEX:
        return [path]
    content = json.loads(read_text(path))
    parts = content.get("weight_map") if isinstance(content, dict) else None
    names = sorted({str(name) for name in parts.values()}) if isinstance(parts, dict) else []
    if not names or any(Path(name).name != name or Path(name).suffix != ".safetensors" for name in names):
        raise ValueError("an index that does not name safetensors files in its folder")
    for name in names:
        if not (path.parent / name).is_file():
            raise ValueError(f"an index whose part {name} is missing; download or copy it, too")
    return [path.parent / name for name in names]


@contextmanager
def _readable_errors(where: str) -> Iterator[None]:
    """Convert all errors to ValueErrors that name the file and what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{where}: no such file") from error
    except OSError as error:
        raise ValueError(f"{where}: can't be read: {error.strerror or error}") from error
    except Exception as error:  # forged files make torch raise errors of many classes
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if (
            isinstance(error, pickle.UnpicklingError) and "Weights only" in reason
        ):  # torch's message explains how to execute it
            reason = "a pickle of something else, which is not executed"
        kind, _, remedy = reason.partition("; ")
        raise ValueError(f"{where}: not a file of plain weights ({kind}); {remedy or REMEDY}") from error


def _load(path: Path) -> Any:
    """Load a file by its content and not its suffix, unlike torch; torch can only map files that it opens itself."""
    if path.name == INDEX:
        return {name: tensor for file in _files(path) for name, tensor in _load(file).items()}
    if check_tensors(path) == "safetensors":
        return dict(load_file(path))
    with torch.serialization.safe_globals(STAND_INS):
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
