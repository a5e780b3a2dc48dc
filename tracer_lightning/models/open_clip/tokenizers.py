"""Tokenizers of open_clip's models, also those of the ``transformers`` library, which SigLIP models have."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
from open_clip.tokenizer import HFTokenizer

from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB, check_hub

LIBRARIES = {"transformers": "transformers", "sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
"""Modules of the extra ``siglip``, and the packages that they are in."""
SETTINGS = "tokenizer_config.json"
"""File that every tokenizer of ``transformers`` has."""


def load_tokenizer(name: str, text_cfg: Mapping[str, Any], weights: str | None) -> Any:
    """The tokenizer of a model: open_clip's own, or that of ``transformers`` which its configuration names.

    Args:
        name: open_clip architecture, or a ``hf-hub:`` or ``local-dir:`` reference.
        text_cfg: configuration of its text tower.
        weights: file, folder or tag of the architecture's weights; a tokenizer in that folder is used.

    Raises:
        ValueError: a library is missing, or the tokenizer can't be found or read.
    """
    repository = text_cfg.get("hf_tokenizer_name")
    if not repository:
        return open_clip.get_tokenizer(name)
    where = f"name {name!r}: its tokenizer"
    missing = [package for module, package in LIBRARIES.items() if not _is_installed(module)]
    if missing:
        raise ValueError(f"{where} needs {' and '.join(missing)}: pip install 'tracer-lightning[siglip]'")
    own = _folder_of(weights)
    if own is None and not name.startswith((HUB, FOLDER)):
        check_hub(where, repository, (SETTINGS,), f"name to {FOLDER}/path/to/folder, with all files of {repository}")
    try:
        if own is None:
            return open_clip.get_tokenizer(name, trust_remote_code=False)
        options = dict(text_cfg.get("tokenizer_kwargs", {}), tokenizer_mode=text_cfg.get("tokenizer_mode"))
        return HFTokenizer(str(own), int(text_cfg["context_length"]), trust_remote_code=False, **options)
    except Exception as error:  # files of tokenizers raise errors of many classes
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise ValueError(f"{where} can't be read: {reason}") from error


def _is_installed(module: str) -> bool:
    package = module.partition(".")[0]
    return importlib.util.find_spec(package) is not None and importlib.util.find_spec(module) is not None


def _folder_of(weights: str | None) -> Path | None:
    """The folder of weights, where it has a tokenizer."""
    if weights is None:
        return None
    path = Path(weights)
    folder = path if path.is_dir() else path.parent
    return folder if path.exists() and (folder / SETTINGS).is_file() else None
