"""Export of models in open_clip's format."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from tracer_lightning.functional.lora_merge import merge
from tracer_lightning.models.files import HEAD_FILE
from tracer_lightning.models.model import Backbone
from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.open_clip.embedders import ConvolutionEmbedder
from tracer_lightning.models.open_clip.state_dicts import CLIP
from tracer_lightning.models.value_heads import PixelHead, ValueHead
from tracer_lightning.models.weights import HEAD


def export_clip(backbone: Backbone, folder: Path) -> None:
    """Write weights and configuration for ``open_clip.create_model_and_transforms("local-dir:FOLDER")``.

    A classifier's head, which is not part of an open_clip model, is written to ``head.safetensors``.

    Args:
        backbone: model, whose low-rank updates are merged in place, with its input specification and configuration.
        folder: target folder, which is created if necessary; existing files of the same names are replaced.

    Raises:
        ValueError: the model has parts that can't be part of an open_clip model.
    """
    clip = plain_clip(backbone.model)
    folder.mkdir(parents=True, exist_ok=True)
    spec = backbone.spec
    preprocessing: dict[str, Any] = {
        "mean": spec.mean,
        "std": spec.std,
        "interpolation": spec.interpolation,
        "resize_mode": spec.resize_mode,
    }
    save_weights(clip.state_dict(), folder / HF_SAFE_WEIGHTS_NAME, {"format": "pt"})
    save_head(backbone.model, folder)
    config = {"model_cfg": backbone.config, "preprocess_cfg": preprocessing}
    (folder / HF_CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n")
    if hasattr(spec.tokenize, "save_pretrained"):  # a Hugging Face tokenizer
        spec.tokenize.save_pretrained(folder)


def plain_clip(model: ClipModel) -> Any:
    """The open_clip model in a model, whose low-rank updates are merged in place.

    Raises:
        ValueError: the model has parts that can't be part of an open_clip model.
    """
    check_takes_images(model)
    merge(model)
    prefixes = (CLIP, HEAD.partition(".")[0])
    extra = [name for name in model.state_dict() if not name.startswith(prefixes)]
    if extra:
        raise ValueError(f"{extra[0]} can't be part of an open_clip model; evaluate the checkpoint instead")
    return model.model


def check_takes_images(model: ClipModel) -> None:
    """Raise ValueError for a model of another modality, or of values in place of classes, which others can't load."""
    if isinstance(model.head, ValueHead | PixelHead):
        raise ValueError("a head that predicts values can't be exported; evaluate the checkpoint instead")
    if isinstance(getattr(model.model.visual, "conv1", None), ConvolutionEmbedder):
        raise ValueError(
            "an embedder of another modality can't be part of an open_clip model; evaluate the checkpoint instead"
        )


def save_head(model: ClipModel, folder: Path) -> None:
    """Write a classifier's head to ``head.safetensors``; models without a head have no such file."""
    if model.head is not None:
        save_weights(model.head.state_dict(), folder / HEAD_FILE)


def save_weights(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a file that is readable for all users, unlike safetensors' default; raise OSError on failure."""
    try:
        save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata)
    except SafetensorError as error:
        match = re.search(r"\(os error (\d+)\)", str(error))
        number = int(match[1]) if match else errno.EIO
        raise OSError(number, os.strerror(number) if match else str(error), str(path)) from error
    path.chmod(0o644)
