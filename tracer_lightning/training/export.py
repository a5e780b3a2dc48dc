"""Exporting a run's model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from jinja2 import Environment, PackageLoader
from omegaconf import DictConfig

from tracer_lightning.analysis.files import read_json
from tracer_lightning.analysis.settings import in_force
from tracer_lightning.analysis.versions import versions
from tracer_lightning.evaluation import METRICS
from tracer_lightning.models import read_checkpoint
from tracer_lightning.models.export import export_clip
from tracer_lightning.models.pretrained import FOLDER, HUB
from tracer_lightning.models.weights import CHECKPOINT, has_teacher
from tracer_lightning.training.backbones import finished_backbone
from tracer_lightning.training.checkpoint import weights_file
from tracer_lightning.training.console import say
from tracer_lightning.training.results import RESULTS
from tracer_lightning.training.schema import EXPORT
from tracer_lightning.training.settings import check_complete
from tracer_lightning.training.types_check import check_types

STUDENT, TEACHER = "student", "teacher"
CARD = "README.md"


def model_card(file: Path | None, model: str, architecture: Any, address: str, head: int = 0) -> str:
    """What the model is and how it did, in Markdown, for people who find it without this project.

    Args:
        file: its checkpoint; the results are those beside it, if it lies in a run's folder.
        model: ``student`` or ``teacher``.
        architecture: an open_clip name, or None for one of one's own.
        address: where open_clip finds it.
        head: classes of its own head, 0 without one.
    """
    content = {} if file is None else read_checkpoint(file, "checkpoint")
    settings = content.get("hyper_parameters")
    settings = settings if isinstance(settings, Mapping) else {}
    method = settings.get("method")
    folder = Path(str(file).removesuffix(CHECKPOINT)) if str(file).endswith(CHECKPOINT) else None
    results: dict[str, Any] = {}
    if folder is not None and (folder / RESULTS).is_file():
        results = read_json(folder / RESULTS)
    loader = PackageLoader("tracer_lightning.training")
    environment = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.get_template("model_card.md.j2").render(
        model=model,
        architecture=architecture,
        address=address,
        head=head,
        method=method.get("name") if isinstance(method, Mapping) else None,
        settings=settings,
        terms=in_force(settings.get("terms", {})),
        steps=content.get("global_step"),
        versions=results.get("versions", versions()),
        before=results.get("zero_shot"),
        after=results.get(model),
        metrics=list(METRICS),
    )


def free_folder(out: str) -> Path:
    """The folder that ``out`` names, where there is nothing yet."""
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"out={folder}: exists already; choose another place")
    return folder


def export(cfg: DictConfig) -> Path:
    """Write what ``cfg`` names for open_clip, with a model card; push it to the hub if asked to.

    Returns:
        The folder.
    """
    check_complete(cfg)
    check_types(cfg, EXPORT)
    if cfg.model not in (STUDENT, TEACHER):
        raise ValueError(f"model must be {STUDENT} or {TEACHER}, found {cfg.model!r}")
    folder = free_folder(cfg.out)
    file = weights_file(cfg.checkpoint)
    if file is not None and cfg.model == TEACHER and not has_teacher(file, "checkpoint"):
        raise ValueError(f"model=teacher: {file} holds none; choose model=student")
    backbone = finished_backbone(cfg, file, "checkpoint", teacher=cfg.model == TEACHER)
    export_clip(backbone, folder)
    address = f"{FOLDER}{folder}" if cfg.push is None else f"{HUB}{cfg.push}"
    classes = 0 if backbone.model.head is None else backbone.model.head.out_features
    (folder / CARD).write_text(model_card(file, cfg.model, cfg.backbone.get("name"), address, classes))
    say(f'exported: open_clip.create_model_and_transforms("local-dir:{folder}")')
    if cfg.push is not None:
        _push(folder, str(cfg.push), cfg.private)
    return folder


def _push(folder: Path, repository: str, private: bool) -> None:
    try:
        hub = HfApi()
        hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export from tracer-lightning")
    except Exception as error:  # its HTTP library, and with it the class of a failed connection, varies
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"push={repository}: {reason}. {folder} is written; are you logged in (hf auth login)?"
        ) from error
    say(f'pushed: open_clip.create_model_and_transforms("hf-hub:{repository}")')
