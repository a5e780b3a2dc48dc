"""Exporting a run's model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from huggingface_hub import HfApi
from jinja2 import Environment, PackageLoader, Template, TemplateError
from markupsafe import Markup
from omegaconf import DictConfig

from tracer_lightning.config.backbones import finished_backbone
from tracer_lightning.config.checkpoint import weights_file
from tracer_lightning.config.saved_settings import plain_settings
from tracer_lightning.config.schema import EXPORT
from tracer_lightning.config.types_check import check_types
from tracer_lightning.config.validate import check_complete
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.run_folder import RESULTS
from tracer_lightning.evaluation import METRICS
from tracer_lightning.models import read_checkpoint
from tracer_lightning.models.files import CHECKPOINT
from tracer_lightning.models.open_clip.export import export_clip
from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB
from tracer_lightning.models.weights import has_teacher
from tracer_lightning.reporting.escaping import markdown, markdown_code, printable
from tracer_lightning.reporting.results import Results, read_results
from tracer_lightning.reporting.settings import active_terms
from tracer_lightning.reporting.versions import versions
from tracer_lightning.storage import making

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
    settings = plain_settings(content, f"checkpoint={file}")
    method = settings.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    results = _results_beside(file)
    try:
        return card_template().render(
            tags=["clip", *(["robust-fine-tuning", printable(str(name))] if name else [])],
            model=model,
            architecture=architecture,
            address=address,
            head=head,
            method=name,
            settings=settings,
            terms=active_terms(settings.get("distill_losses", {})),
            steps=content.get("global_step"),
            versions=results.versions or versions(),
            before=results.zero_shot,
            after=getattr(results, model),
            metrics=list(METRICS),
        )
    except (TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"checkpoint: {file} or its {RESULTS} are not as a run writes them ({error})") from error


def _results_beside(file: Path | None) -> Results:
    """Results of the run that a checkpoint lies in, if it lies in one."""
    folder = Path(str(file).removesuffix(CHECKPOINT)) if str(file).endswith(CHECKPOINT) else None
    return read_results(folder / RESULTS) if folder is not None and (folder / RESULTS).is_file() else Results()


def card_template() -> Template:
    """The model card, in which every value is text: whatever it says, it makes no markup and no further settings."""
    environment = Environment(
        loader=PackageLoader("tracer_lightning.commands"),
        finalize=lambda value: value if isinstance(value, Markup) else markdown(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": lambda share: "–" if share is None else f"{100 * share:.1f}",
        "code": lambda text: Markup(markdown_code(str(text))),
        "literal": lambda text: Markup(json.dumps(text, ensure_ascii=False)),
        "yaml": lambda content: Markup(yaml.safe_dump(content, default_flow_style=True, width=math.inf).rstrip()),
    }
    return environment.get_template("model_card.md.j2")


def free_folder(out: str) -> Path:
    """The folder that ``out`` names, where there is nothing yet."""
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"out={folder}: exists already; choose another place")
    if folder.is_mount() or folder.resolve() == Path.cwd():
        raise ValueError(f"out={folder}: can't be made as a whole or not at all; choose a folder within it")
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
    address = f"{FOLDER}{folder}" if cfg.push is None else f"{HUB}{cfg.push}"
    classes = 0 if backbone.model.head is None else backbone.model.head.out_features
    with making(folder) as partial:
        export_clip(backbone, partial)
        card = model_card(file, cfg.model, cfg.backbone.get("name"), address, classes)
        (partial / CARD).write_text(card, encoding="utf-8")
    print_rank_zero(f'exported: open_clip.create_model_and_transforms("local-dir:{folder}")')
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
    print_rank_zero(f'pushed: open_clip.create_model_and_transforms("hf-hub:{repository}")')
