"""Cards of exported models."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import yaml  # type: ignore[import-untyped]
from jinja2 import Environment, PackageLoader, Template, TemplateError
from markupsafe import Markup

from tracer_lightning.engine.run_folder import CHECKPOINT, RESULTS, results_beside
from tracer_lightning.engine.settings import saved_settings
from tracer_lightning.evaluation import format_score
from tracer_lightning.models import Backbone, read_checkpoint
from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB
from tracer_lightning.reporting.escaping import markdown, markdown_code, printable
from tracer_lightning.reporting.results_file import Results, Scores, read_results
from tracer_lightning.reporting.settings import active_terms
from tracer_lightning.reporting.versions import versions
from tracer_lightning.scores import sets_by_kind
from tracer_lightning.types import ClassTexts

LISTED = 50
"""Greatest number of classes, and of templates, that a card lists."""


class ExportedModel(NamedTuple):
    """A model in the format of a library, as its card describes it."""

    backbone: Backbone
    """The model, with its inputs."""
    library: str | None
    """Library that loads the model: ``open_clip``, ``transformers`` or ``onnx``."""
    address: str
    """Name under which the library loads the model."""
    texts: ClassTexts | None = None
    """Class names and templates in the folder, if any."""
    license: str | None = None
    """Licence of the weights, if it is known."""
    comparison: str | None = None
    """A sentence on how well the exported model agrees with the original, if that was measured."""


class BaseModel(NamedTuple):
    """The model that was fine-tuned."""

    name: str
    """Name of the pretrained model, or of the file or folder of initial weights."""
    repository: str | None = None
    """The model's repository on the Hugging Face hub, if it has one."""


def model_card(file: Path | None, model: str, backbone_settings: Any, exported: ExportedModel) -> str:
    """The model card in Markdown: how to load the model, its inputs and classes, its training and its scores.

    Args:
        file: checkpoint of the model; the scores are those of the run whose folder it is in, if any. None for a model
            that is loaded by its name.
        model: ``student`` or ``teacher``.
        backbone_settings: settings of the group ``backbone``.
        exported: the exported model.
    """
    content = {} if file is None else read_checkpoint(file, "checkpoint")
    settings = saved_settings(content, f"checkpoint={file}")
    method = settings.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    results = _results_beside(file)
    after: Scores = getattr(results, model) or {}
    network = exported.backbone.model
    try:
        return card_template(network.card_template).render(
            **exported._asdict(),
            **{"tags": ["clip", *(["robust-fine-tuning", printable(str(name))] if name else [])], "model": model},
            architecture=backbone_settings.get("name"),
            spec=exported.backbone.spec,
            head=0 if network.head is None else network.head.out_features,
            context_length=network.context_length,
            dtype=str(next(network.parameters()).dtype).removeprefix("torch."),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            method=name,
            settings=settings,
            terms=active_terms(settings.get("distill_losses", {})),
            steps=content.get("global_step"),
            versions=results.versions or versions(),
            before=results.untrained,
            after=after,
            kinds=sets_by_kind(after, results.declared_metrics),
            precision=results.precision,
            base=_base_model(settings if file is not None else {"backbone": backbone_settings}, results.start),
            listed=LISTED,
        )
    except (TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"checkpoint: {file} or its {RESULTS} is not a valid file of a run ({error})") from error


def _base_model(settings: Mapping[str, Any], start: str | None) -> BaseModel | None:
    """What a run started from; None for random weights.

    Args:
        settings: settings of the run, or only ``backbone`` for a model that was not trained.
        start: path of the initial weights, which a finished run records; None if it loaded none.
    """
    if start := start or settings.get("init_weights"):
        return BaseModel(Path(str(start).removesuffix(f"/{CHECKPOINT}")).name)
    if isinstance(prerequisite := settings.get("prerequisite"), Mapping):
        return BaseModel(str(prerequisite.get("experiment")))
    backbone = settings.get("backbone")
    if not isinstance(backbone, Mapping) or "name" not in backbone:
        return None
    name, tag = str(backbone["name"]), backbone.get("pretrained")
    if name.startswith(HUB):
        return BaseModel(name.removeprefix(HUB), name.removeprefix(HUB))
    if name.startswith(FOLDER):
        return BaseModel(Path(name.removeprefix(FOLDER)).name)
    if tag is None:
        return None
    place = (open_clip.get_pretrained_cfg(name, str(tag)) or {}).get("hf_hub", "")  # OWNER/NAME/ and perhaps a file
    return BaseModel(f"{name}/{Path(str(tag)).name}", "/".join(place.split("/")[:2]) or None)


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
