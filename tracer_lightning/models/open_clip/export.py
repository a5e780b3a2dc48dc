"""Writing models that open_clip loads in one line."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from tracer_lightning.functional.lora_merge import merge
from tracer_lightning.models.backbone import Backbone
from tracer_lightning.models.files import HEAD_FILE
from tracer_lightning.models.open_clip.state_dicts import CLIP
from tracer_lightning.models.weights import HEAD


def export_clip(backbone: Backbone, folder: Path) -> None:
    """Write weights and configuration for ``open_clip.create_model_and_transforms("local-dir:FOLDER")``.

    A classifier's head, which an open_clip model has no place for, goes to a file of its own, ``head.safetensors``.

    Args:
        backbone: the model, whose low-rank updates are merged, and what it expects of its inputs.
        folder: made if need be; files of these names in it are replaced.

    Raises:
        ValueError: the model has parts that an open_clip model has no place for.
    """
    merge(backbone.model)
    own = (CLIP, HEAD.partition(".")[0])
    foreign = [name for name in backbone.model.state_dict() if not name.startswith(own)]
    if foreign:
        raise ValueError(f"an open_clip model has no place for {foreign[0]}; evaluate the checkpoint itself")
    folder.mkdir(parents=True, exist_ok=True)
    spec = backbone.spec
    preprocessing: dict[str, Any] = {
        "mean": spec.mean,
        "std": spec.std,
        "interpolation": spec.interpolation,
        "resize_mode": spec.resize_mode,
    }
    tensors = {name: value.contiguous() for name, value in backbone.model.model.state_dict().items()}
    _save(tensors, folder / HF_SAFE_WEIGHTS_NAME, {"format": "pt"})
    if backbone.model.head is not None:
        head = {name: value.contiguous() for name, value in backbone.model.head.state_dict().items()}
        _save(head, folder / HEAD_FILE)
    config = {"model_cfg": backbone.config, "preprocess_cfg": preprocessing}
    (folder / HF_CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n")
    if hasattr(spec.tokenize, "save_pretrained"):  # a tokenizer that is not open_clip's own
        spec.tokenize.save_pretrained(folder)


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a file that others may read, too; safetensors leaves it to its owner, and has errors of its own."""
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number) if found else str(error), str(path)) from error
    path.chmod(0o644)
