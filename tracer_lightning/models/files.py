"""Files of weights: where they are, and what is in them, of which nothing is executed."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from safetensors.torch import load_file

from tracer_lightning.storage import MANY_FILES, STAND_INS, check_tensors
from tracer_lightning.storage.run_layout import CHECKPOINT

HEAD_FILE = "head.safetensors"
"""Weight (C, D) and bias (C,) of a classifier: logits are the normalised image features @ weight.T + bias."""
PREFERRED = (
    "open_clip_model.safetensors",
    HF_SAFE_WEIGHTS_NAME,
    "open_clip_pytorch_model.safetensors",
    HF_WEIGHTS_NAME,
    "model.safetensors",
    "pytorch_model.bin",
)
"""The weights of folders that open_clip or the ``transformers`` library wrote, the first of which counts."""
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""How files of weights are called."""
REMEDY = "give a checkpoint of this project, a state dict, or safetensors"
SHARDED = (
    "a checkpoint in parts, one of each process; write it as one file: "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE"
)


def weights_path(path: Path, setting: str) -> Path:
    """The file of weights that a path names: itself, or that within a run's, an exported or a downloaded folder.

    Args:
        path: may lead nowhere.
        setting: what the user set to name it, for errors.

    Raises:
        ValueError: a folder without weights, with several, or with weights in parts.
    """
    if not path.is_dir():
        return path
    if any(path.glob("*.distcp")):
        raise ValueError(f"{setting}={path}: {SHARDED}")
    if (path / CHECKPOINT).is_dir():
        return weights_path(path / CHECKPOINT, setting)
    for name in (CHECKPOINT, *PREFERRED):
        if (path / name).exists():
            return path / name
    if any(path.glob("*.index.json")):
        raise ValueError(f"{setting}={path}: holds {MANY_FILES}")
    names = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES and file.name != HEAD_FILE)
    if len(names) == 1:
        return path / names[0]
    if names:
        raise ValueError(f"{setting}={path}: a folder of several files; name one of {', '.join(names[:9])}")
    raise ValueError(f"{setting}={path / CHECKPOINT}: no such file, nor other weights in that folder; name their file")


def read_checkpoint(path: Path, setting: str) -> dict[str, Any]:
    """The dictionary in a checkpoint, state dict or safetensors file; nothing in it is executed.

    Args:
        path: the file; large ones are mapped rather than read.
        setting: what the user set to name the file, for errors.
    """
    where = f"{setting}={path}"
    with _named(where):
        content = _content(path)
    if not isinstance(content, dict):
        raise ValueError(f"{where}: holds a {type(content).__name__}, not a checkpoint or state dict")
    if not isinstance(content.get("state_dict", {}), Mapping) or not all(
        isinstance(name, str) for name in [*content, *content.get("state_dict", ())]
    ):
        raise ValueError(f"{where}: its state_dict is none; {REMEDY}")
    return content


def check_weights(path: Path, setting: str) -> None:
    """Raise ValueError for a file that :func:`read_checkpoint` would refuse before it reads any weights."""
    with _named(f"{setting}={path}"):
        check_tensors(path)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say which file it is, and what to do, whatever comes of reading it."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{where}: no such file") from error
    except OSError as error:
        raise ValueError(f"{where}: can't be read: {error.strerror or error}") from error
    except Exception as error:  # what else a forged file makes torch raise, nobody lists
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, pickle.UnpicklingError) and "Weights only" in reason:  # torch says how to execute it
            reason = "a pickle of something else, which is not executed"
        kind, _, remedy = reason.partition("; ")
        raise ValueError(f"{where}: not a file of plain weights ({kind}); {remedy or REMEDY}") from error


def _content(path: Path) -> Any:
    """What a file holds, whatever it is called; torch itself goes by the name, and maps only what it opens."""
    if check_tensors(path) == "safetensors":
        return dict(load_file(path))
    with torch.serialization.safe_globals(STAND_INS):
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
