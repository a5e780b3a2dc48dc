"""Export of a finished model."""

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

from tracer_lightning.commands.runner import require_clip, require_new_folder
from tracer_lightning.config.backbones import finished_backbone
from tracer_lightning.config.checkpoint import weights_file
from tracer_lightning.config.class_texts import recorded_class_texts
from tracer_lightning.config.errors import setting
from tracer_lightning.config.finished_models import TEACHER
from tracer_lightning.config.schema import ONNX, TRANSFORMERS
from tracer_lightning.config.validate import validate
from tracer_lightning.data.images.captions import CaptionTables
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.run_folder import CHECKPOINT, CLASSES, RESULTS, results_beside, write_json
from tracer_lightning.engine.settings import saved_settings
from tracer_lightning.evaluation import format_score
from tracer_lightning.models import Backbone, Model, read_checkpoint
from tracer_lightning.models.open_clip.onnx import export_onnx
from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB
from tracer_lightning.models.weights import has_teacher
from tracer_lightning.reporting.escaping import markdown, markdown_code, printable
from tracer_lightning.reporting.results_file import Results, Scores, read_results
from tracer_lightning.reporting.settings import active_terms
from tracer_lightning.reporting.versions import versions
from tracer_lightning.scores import sets_by_kind
from tracer_lightning.storage import atomic_folder
from tracer_lightning.types import ClassTexts

CARD, OPEN_CLIP = "README.md", "open_clip"


def model_card(
    file: Path | None,
    model: str,
    architecture: Any,
    address: str,
    head: int = 0,
    template: str = "model_card.md.j2",
    texts: ClassTexts | None = None,
    license: str | None = None,
    library: str = OPEN_CLIP,
) -> str:
    """The model card in Markdown: how to load the model, its training and its scores.

    Args:
        file: checkpoint of the model; the scores are those of the run whose folder it is in, if any.
        model: ``student`` or ``teacher``.
        architecture: open_clip's name of the architecture; None if it has no name there.
        address: name under which the library loads the model.
        head: number of classes of the model's own head; 0 without one.
        template: file name of the template.
        texts: class names and templates in the folder, if any.
        license: licence of the weights, if it is known.
        library: library that loads the model: ``open_clip``, ``transformers`` or ``onnx``.
    """
    content = {} if file is None else read_checkpoint(file, "checkpoint")
    settings = saved_settings(content, f"checkpoint={file}")
    method = settings.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    results = _results_beside(file)
    after: Scores = getattr(results, model) or {}
    try:
        return card_template(template).render(
            tags=["clip", *(["robust-fine-tuning", printable(str(name))] if name else [])],
            model=model,
            architecture=architecture,
            address=address,
            library=library,
            head=head,
            method=name,
            settings=settings,
            terms=active_terms(settings.get("distill_losses", {})),
            steps=content.get("global_step"),
            versions=results.versions or versions(),
            before=results.untrained,
            after=after,
            kinds=sets_by_kind(after, results.declared_metrics),
            precision=results.precision,
            base=_base_model(settings),
            texts=texts,
            license=license,
        )
    except (TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"checkpoint: {file} or its {RESULTS} is not a valid file of a run ({error})") from error


def _base_model(settings: Mapping[str, Any]) -> str | None:
    """Name of the pretrained model that a run's backbone is; None where it has random weights or a local file's."""
    backbone = settings.get("backbone")
    if not isinstance(backbone, Mapping) or "name" not in backbone:
        return None
    name, tag = str(backbone["name"]), backbone.get("pretrained")
    if name.startswith(HUB):
        return name.removeprefix(HUB)
    return None if tag is None or name.startswith(FOLDER) else f"{name}/{Path(str(tag)).name}"


def _results_beside(file: Path | None) -> Results:
    """Results of the run whose last checkpoint this is; empty for other files."""
    results = results_beside(file) if file is not None and str(file).endswith(CHECKPOINT) else None
    return Results() if results is None else read_results(results)


def card_template(name: str) -> Template:
    """The template of a model card; every value is escaped, so that none can add markup or metadata."""
    environment = Environment(
        loader=PackageLoader("tracer_lightning.commands"),
        finalize=lambda value: value if isinstance(value, Markup) else markdown(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "score": lambda value, metric: format_score(metric, value),
        "code": lambda text: Markup(markdown_code(str(text))),
        "literal": lambda text: Markup(json.dumps(text, ensure_ascii=False)),
        "yaml": lambda content: Markup(yaml.safe_dump(content, default_flow_style=True, width=math.inf).rstrip()),
    }
    return environment.get_template(name)


def export(cfg: DictConfig) -> Path:
    """Export a model, with a card if its family has one, and push it to the hub where ``push`` names a repository.

    Without ``checkpoint``, a finished export is pushed.

    Returns:
        The folder that was written.
    """
    validate(cfg, "export")
    if cfg.checkpoint is None:
        return _push_finished(cfg)
    folder = require_new_folder(cfg.out)
    file = weights_file(cfg.checkpoint)
    if file is not None and cfg.model == TEACHER and not has_teacher(file, "checkpoint"):
        raise ValueError(f"model=teacher: {file} holds none; choose model=student")
    backbone = finished_backbone(cfg, file, "checkpoint", teacher=cfg.model == TEACHER)
    classes = 0 if backbone.model.head is None else backbone.model.head.out_features
    model: Model = backbone.model
    texts = recorded_class_texts(cfg.checkpoint)
    library = cfg.format or OPEN_CLIP
    with atomic_folder(folder) as partial:
        if library == ONNX:
            _export_onnx(backbone, texts, partial)
        elif library == TRANSFORMERS:
            model.export_to_transformers(backbone, partial)
        else:
            model.export(backbone, partial)
        if texts is not None:
            write_json(partial / CLASSES, texts._asdict())
        if model.card_template is not None:
            address = _address(library, str(cfg.push or folder), is_local=cfg.push is None)
            about = {"texts": texts, "license": cfg.license, "library": library}
            card = model_card(file, cfg.model, cfg.backbone.get("name"), address, classes, model.card_template, **about)
            (partial / CARD).write_text(card, encoding="utf-8")
    print_rank_zero(f"exported: {_loading_code(model, library, str(folder), is_local=True) or folder}")
    if cfg.push is not None:
        _push(folder, str(cfg.push), cfg.private)
        print_rank_zero(f"pushed: {_loading_code(model, library, str(cfg.push), is_local=False) or cfg.push}")
    return folder


def _export_onnx(backbone: Backbone, texts: ClassTexts | None, folder: Path) -> None:
    """Write ONNX models with the model's own head or, for known classes, with a zero-shot head."""
    with setting(f"format={ONNX}"):
        require_clip([backbone], "it")
        prompts = None
        if texts is not None:
            tables = CaptionTables(backbone.spec.tokenize)
            prompts = tables.of(texts.classnames, texts.templates).tokens
        export_onnx(backbone, prompts, folder)


def _push_finished(cfg: DictConfig) -> Path:
    """Push a folder that was exported before."""
    folder = Path(cfg.out)
    if cfg.push is None:
        raise ValueError(
            "checkpoint is not set; give a run, a file or a folder, or push= for a finished export in out="
        )
    if not (folder / CARD).is_file():
        raise ValueError(f"out={folder}: no finished export; give the checkpoint to export as checkpoint=")
    _push(folder, str(cfg.push), cfg.private)
    print_rank_zero(f"pushed: {cfg.push}")
    return folder


def _address(library: str, place: str, is_local: bool) -> str:
    """Name under which a library loads the model from a folder or from the hub."""
    if library != OPEN_CLIP:
        return place
    return f"{FOLDER if is_local else HUB}{place}"


def _loading_code(model: Model, library: str, place: str, is_local: bool) -> str | None:
    """The call that loads an exported model from a folder or from the hub; None where there is none."""
    if library == TRANSFORMERS:
        return f'transformers.AutoModel.from_pretrained("{place}")'
    return None if library == ONNX else model.loading_code(_address(library, place, is_local))


def _push(folder: Path, repository: str, private: bool) -> None:
    try:
        hub = HfApi()
        hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export from tracer-lightning")
    except Exception as error:  # the class of a failed connection depends on the HTTP library
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"push={repository}: {reason}. {folder} is written; are you logged in (hf auth login)?"
        ) from error
