"""Early checks that the weights of a published model are available and fit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import download_pretrained_from_hf

from tracer_lightning.models.files import check_weights, weights_path
from tracer_lightning.models.open_clip.architecture import Architecture, Preprocessing, explicit_settings
from tracer_lightning.storage import check_regular, read_text
from tracer_lightning.storage.records import read_record

HUB, FOLDER = "hf-hub:", "local-dir:"
SHOWN = 5
"""Greatest number of cached models that a message names."""
TIMEOUT = 10.0
"""Seconds to wait for the hub's response."""


def check_pretrained(name: str, pretrained: str | None) -> None:
    """Raise ValueError where the weights for ``load_clip`` don't exist, don't fit, or can't be downloaded.

    open_clip itself would try for a minute, or continue with random weights.

    Args:
        name: open_clip architecture, or a ``hf-hub:`` or ``local-dir:`` reference.
        pretrained: pretrained tag or local file; ignored for references, which have their own weights.
    """
    if name.startswith(FOLDER):
        if not (folder := Path(name.removeprefix(FOLDER))).is_dir():
            raise ValueError(f"name {name!r}: there is no folder {folder}")
        _check_folder(name, folder)
        return
    if name.startswith(HUB):
        where = f"name {name!r}: the weights"
        check_hub(where, name.removeprefix(HUB), (HF_CONFIG_NAME,), f"name to {FOLDER}/path/to/folder")
        return
    if name not in open_clip.list_models():
        raise ValueError(f"name {name!r}: open_clip has no such model; open_clip.list_models() lists all models")
    if pretrained is None:
        return
    if _is_local(name, pretrained):
        return
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise ValueError(f"pretrained {pretrained!r}: neither a file nor a tag of {name}, whose tags are {tags}")
    _check_activation(name, pretrained, bool(tag.get("quick_gelu")))
    if repository := tag.get("hf_hub"):
        repository_id, file_name = os.path.split(repository)
        files = (file_name,) if file_name else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
        try:
            check_hub(
                f"pretrained {pretrained!r}: the weights", repository_id, files, "pretrained to the path of the file"
            )
        except ValueError as error:
            raise ValueError(f"{error}. {about_cache()}") from None


def cached_models() -> list[str]:
    """Names and tags of open_clip's models whose weights are in the hub's cache, as ``NAME/TAG``."""
    cached = []
    for name, tag in open_clip.list_pretrained():
        repository, file = os.path.split((open_clip.get_pretrained_cfg(name, tag) or {}).get("hf_hub") or "")
        files = (file,) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
        if repository and any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
            cached.append(f"{name}/{tag}")
    return cached


def about_cache() -> str:
    """Say in one sentence which of open_clip's models are in the hub's cache."""
    models = cached_models()
    if not models:
        return "None of open_clip's pretrained models is in the local cache"
    more = f" and {len(models) - SHOWN} more" if len(models) > SHOWN else ""
    return f"In the local cache are, as NAME/PRETRAINED: {', '.join(models[:SHOWN])}{more}"


def _is_local(name: str, pretrained: str) -> bool:
    """Whether ``pretrained`` is a file or folder; tags take precedence over files of the same name."""
    return not open_clip.get_pretrained_cfg(name, pretrained) and Path(pretrained).exists()


def _check_folder(name: str, folder: Path) -> None:
    """Raise ValueError where an exported folder contains anything but regular files and folders."""
    for path in sorted(folder.iterdir()):
        try:
            if not path.is_dir():
                check_regular(path)
        except (ValueError, OSError) as error:
            raise ValueError(f"name {name!r}: the model can't be built from {path}: {error}") from error


def local_weights(name: str, pretrained: str | None) -> tuple[Path, str] | None:
    """Return the local path of a model's weights and the name of its argument, after a check of the file.

    Args:
        name: see :func:`check_pretrained`; weights of ``hf-hub:`` references are downloaded.
        pretrained: see :func:`check_pretrained`.

    Returns:
        A file or folder and the argument's name; None for random weights, and for tags, which open_clip downloads.
    """
    if name.startswith(FOLDER):
        path, argument = Path(name.removeprefix(FOLDER)), "name"
    elif name.startswith(HUB):
        path, argument = _download(name), "name"
    elif pretrained is not None and _is_local(name, pretrained):
        path, argument = Path(pretrained), "pretrained"
    else:
        return None
    check_weights(weights_path(path, argument), argument)
    return path, argument


def _download(name: str) -> Path:
    """Download the weights of a model to the hub's cache."""
    try:
        return Path(download_pretrained_from_hf(name.removeprefix(HUB)))
    except Exception as error:  # its HTTP library, and with it the class of a failed connection, varies
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise ValueError(f"name {name!r}: its weights can't be downloaded: {reason}") from error


def model_config(name: str) -> dict[str, Any]:
    """Return the architecture of a model in the format of open_clip's configurations, downloaded if necessary.

    Raises:
        ValueError: a reference's configuration is invalid or has unknown keys; it must not name files, addresses or
            code.
    """
    if name.startswith(FOLDER):
        file = Path(name.removeprefix(FOLDER)) / HF_CONFIG_NAME
    elif name.startswith(HUB):
        file = Path(hf_hub_download(name.removeprefix(HUB), HF_CONFIG_NAME))
    else:
        return dict(open_clip.get_model_config(name) or {})
    where = f"name {name!r}: {file}"
    if not file.is_file() and (file.parent / "config.json").is_file():
        raise ValueError(
            f"name {name!r}: {file.parent} has no {HF_CONFIG_NAME}; for weights of the transformers library, set name "
            "to an architecture such as ViT-B-16-SigLIP, and pretrained to the folder"
        )
    try:
        config = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not a configuration of open_clip ({error!r})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{where} is not a configuration of open_clip: it contains a {type(config).__name__}")
    read_record(Preprocessing, config.get("preprocess_cfg", {}), f"{where}: preprocess_cfg")
    return explicit_settings(read_record(Architecture, config.get("model_cfg"), f"{where}: model_cfg"))


def _check_activation(name: str, tag: str, quick_gelu: bool) -> None:
    """Raise ValueError where the weights need another activation than the architecture has."""
    config = open_clip.get_model_config(name) or {}
    if quick_gelu != bool(config.get("quick_gelu")):
        alternative = f"{name}-quickgelu" if quick_gelu else name.removesuffix("-quickgelu")
        raise ValueError(f"name {name!r}: {tag} needs another activation; choose {alternative}")


def check_hub(where: str, repository: str, files: tuple[str, ...], remedy: str) -> None:
    """Raise ValueError unless one of the files is in the cache or on the hub.

    Args:
        where: the argument and what is to be downloaded, for errors.
        repository: repository on the Hugging Face hub.
        files: names of files.
        remedy: the argument to set, and its value.
    """
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        return
    reason: Exception | None = None
    for file in files:
        try:
            get_hf_file_metadata(hf_hub_url(repository, file), timeout=TIMEOUT)
        except Exception as error:  # its HTTP library, and with it the class of a failed connection, varies
            reason = reason or error
        else:
            return
    link = hf_hub_url(repository, files[0])
    raise ValueError(
        f"{where} can't be downloaded ({type(reason).__name__}). Download {link} on a machine with "
        f"network access, copy it here, and set {remedy}"
    )
