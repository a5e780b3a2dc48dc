"""Tokenizers of open_clip's models, also those of the ``transformers`` library, which SigLIP models have."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import open_clip
from open_clip.tokenizer import HFTokenizer

from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB, check_hub

LIBRARIES = ("transformers", "sentencepiece")
"""Libraries of the extra ``siglip``; some tokenizers need the first one only."""
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
    missing = [library for library in LIBRARIES if find_spec(library) is None]
    remedy = f"needs {' and '.join(missing)}: pip install 'tracer-lightning[siglip]'"
    if "transformers" in missing:
        raise ValueError(f"{where} {remedy}")
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
        advice = f"; perhaps it {remedy}" if missing else ""
        raise ValueError(f"{where} can't be read: {reason}{advice}") from error


def _folder_of(weights: str | None) -> Path | None:
    """The folder of weights, where it has a tokenizer."""
    if weights is None:
        return None
    path = Path(weights)
    folder = path if path.is_dir() else path.parent
    return folder if path.exists() and (folder / SETTINGS).is_file() else None
