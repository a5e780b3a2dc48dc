"""Can the weights of a published model be had? Answered quickly, and in words that help."""

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
from tracer_lightning.models.open_clip.architecture import Architecture, Preprocessing, settings_of
from tracer_lightning.storage import check_regular, read_text
from tracer_lightning.storage.records import read_record

HUB, FOLDER = "hf-hub:", "local-dir:"
PRETRAINED = "backbone.pretrained"
"""The setting that names the weights of an architecture."""
TIMEOUT = 10.0
"""Seconds to wait for the hub's first answer."""


def check_pretrained(name: str, pretrained: str | None) -> None:
    """Raise ValueError where the weights that ``load_clip`` is asked for don't exist, don't fit, or can't be fetched.

    open_clip would try for a minute, or go on with random weights.

    Args:
        name: an open_clip architecture, or a ``hf-hub:`` or ``local-dir:`` reference.
        pretrained: tag or local file; of no meaning to references, which name their weights themselves.
    """
    if name.startswith(FOLDER):
        if not (folder := Path(name.removeprefix(FOLDER))).is_dir():
            raise ValueError(f"backbone.name={name}: there is no folder {folder}")
        _check_folder(name, folder)
        return
    if name.startswith(HUB):
        _check_hub(f"backbone.name={name}", name.removeprefix(HUB), (HF_CONFIG_NAME,), f"name={FOLDER}/path/to/folder")
        return
    if name not in open_clip.list_models():
        raise ValueError(f"backbone.name={name}: open_clip has no such model; open_clip.list_models() lists them")
    if pretrained is None:
        return
    if _is_local(name, pretrained):
        return
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise ValueError(f"{PRETRAINED}={pretrained}: neither a file nor a tag of {name}, whose tags are {tags}")
    _check_activation(name, pretrained, bool(tag.get("quick_gelu")))
    if repository := tag.get("hf_hub"):
        folder, name_of_file = os.path.split(repository)
        files = (name_of_file,) if name_of_file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
        _check_hub(f"backbone.pretrained={pretrained}", folder, files, "pretrained=/path/to/that/file")


def _is_local(name: str, pretrained: str) -> bool:
    """Whether this is a file or folder; a tag is a tag, whatever lies in the working directory."""
    return not open_clip.get_pretrained_cfg(name, pretrained) and Path(pretrained).exists()


def _check_folder(name: str, folder: Path) -> None:
    """Raise ValueError where open_clip would open something in an exported folder that it should not."""
    for path in sorted(folder.iterdir()):
        try:
            if not path.is_dir():
                check_regular(path)
        except (ValueError, OSError) as error:
            raise ValueError(f"backbone.name={name}: it can't be built from {path}: {error}") from error


def local_weights(name: str, pretrained: str | None) -> tuple[Path, str] | None:
    """Where the weights of a model are on this machine, and the setting that says so; they are looked at, not read.

    Args:
        name: as for :func:`check_pretrained`; weights that a reference to the hub names are fetched.
        pretrained: likewise.

    Returns:
        A file or folder; None for random weights, and for a tag's, which open_clip fetches and loads.
    """
    if name.startswith(FOLDER):
        path, setting = Path(name.removeprefix(FOLDER)), "backbone.name"
    elif name.startswith(HUB):
        path, setting = _fetched(name), "backbone.name"
    elif pretrained is not None and _is_local(name, pretrained):
        path, setting = Path(pretrained), PRETRAINED
    else:
        return None
    check_weights(weights_path(path, setting), setting)
    return path, setting


def _fetched(name: str) -> Path:
    """The weights of a model on the hub, in the cache."""
    try:
        return Path(download_pretrained_from_hf(name.removeprefix(HUB)))
    except Exception as error:  # its HTTP library, and with it the class of a failed connection, varies
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise ValueError(f"backbone.name={name}: its weights can't be fetched: {reason}") from error


def model_config(name: str) -> dict[str, Any]:
    """The architecture of a name or reference in open_clip's terms, fetched where it is on the hub.

    Raises:
        ValueError: a reference's configuration is none, or says more than what an architecture is: it may name no file,
            no address and no code.
    """
    if name.startswith(FOLDER):
        file = Path(name.removeprefix(FOLDER)) / HF_CONFIG_NAME
    elif name.startswith(HUB):
        file = Path(hf_hub_download(name.removeprefix(HUB), HF_CONFIG_NAME))
    else:
        return dict(open_clip.get_model_config(name) or {})
    where = f"backbone.name={name}: {file}"
    try:
        config = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no configuration of open_clip's ({error!r})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{where} is no configuration of open_clip's: it holds a {type(config).__name__}")
    read_record(Preprocessing, config.get("preprocess_cfg", {}), f"{where}: preprocess_cfg")
    return settings_of(read_record(Architecture, config.get("model_cfg"), f"{where}: model_cfg"))


def _check_activation(name: str, tag: str, wanted: bool) -> None:
    """Weights trained with QuickGELU are damaged without, and the other way round."""
    config = open_clip.get_model_config(name) or {}
    if wanted != bool(config.get("quick_gelu")):
        other = f"{name}-quickgelu" if wanted else name.removesuffix("-quickgelu")
        raise ValueError(f"backbone.name={name}: {tag} needs another activation; choose {other}")


def _check_hub(setting: str, repository: str, files: tuple[str, ...], remedy: str) -> None:
    """One of the files must be in the cache, or on the hub."""
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
        f"{setting}: the weights can't be fetched ({type(reason).__name__}). Download {link} where there is a network, "
        f"copy it here, and set backbone.{remedy}"
    )
