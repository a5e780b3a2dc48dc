"""Export of a finished model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from tracer_lightning.commands.model_card import ExportedModel, model_card
from tracer_lightning.commands.runner import require_clip, require_new_folder
from tracer_lightning.config.backbones import finished_backbone
from tracer_lightning.config.build import build_data
from tracer_lightning.config.checkpoint import weights_file, with_recorded_data
from tracer_lightning.config.class_texts import recorded_class_texts
from tracer_lightning.config.errors import setting
from tracer_lightning.config.finished_models import TEACHER
from tracer_lightning.config.schema import ONNX, TRANSFORMERS
from tracer_lightning.config.validate import validate
from tracer_lightning.data.images.captions import CaptionTables
from tracer_lightning.engine.console import print_rank_zero, quieten
from tracer_lightning.engine.run_folder import CLASSES, write_json
from tracer_lightning.models import Backbone, Model
from tracer_lightning.models.open_clip.export import check_takes_images
from tracer_lightning.models.open_clip.onnx import Agreement, export_onnx
from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB
from tracer_lightning.models.weights import has_teacher
from tracer_lightning.storage import atomic_folder
from tracer_lightning.types import IGNORE_INDEX, ClassTexts

CARD = "README.md"
TEST_IMAGES = 256
"""Greatest number of test images on which an exported model is compared with the original."""


def export(cfg: DictConfig) -> Path:
    """Export a model, with a card if its family has one, and push it to the hub where ``push`` names a repository.

    Without ``checkpoint``, a finished export is pushed.

    Returns:
        The folder that was written.
    """
    quieten()
    validate(cfg, "export")
    if cfg.checkpoint is None:
        return _push_finished(cfg)
    folder = require_new_folder(cfg.out)
    file = weights_file(cfg.checkpoint)
    if file is not None and cfg.model == TEACHER and not has_teacher(file, "checkpoint"):
        raise ValueError(f"model=teacher: {file} holds none; choose model=student")
    backbone = finished_backbone(cfg, file, "checkpoint", teacher=cfg.model == TEACHER)
    model: Model = backbone.model
    texts = recorded_class_texts(cfg.checkpoint)
    library = cfg.format or model.export_format
    with atomic_folder(folder) as partial:
        comparison = _write(cfg, library, backbone, texts, partial)
        if texts is not None:
            write_json(partial / CLASSES, texts._asdict())
        if model.card_template is not None:
            address = _address(library, str(cfg.push or folder), is_local=cfg.push is None)
            exported = ExportedModel(backbone, library, address, texts, cfg.license, comparison)
            card = model_card(file, cfg.model, OmegaConf.to_container(cfg.backbone), exported)
            (partial / CARD).write_text(card, encoding="utf-8")
    print_rank_zero(f"exported: {_loading_code(model, library, str(folder), is_local=True) or folder}")
    if cfg.push is not None:
        _push(folder, str(cfg.push), cfg.private)
        print_rank_zero(f"pushed: {_loading_code(model, library, str(cfg.push), is_local=False) or cfg.push}")
    return folder


def _write(
    cfg: DictConfig, library: str | None, backbone: Backbone, texts: ClassTexts | None, folder: Path
) -> str | None:
    """Write a model to a folder in the format of a library, or for None in that of its family.

    Returns:
        How the exported model compares with the original, for its card; None where that was not measured.
    """
    if library == backbone.model.export_format:
        backbone.model.export(backbone, folder)
    elif library == TRANSFORMERS:
        backbone.model.export_to_transformers(backbone, folder)
    else:
        require_clip([backbone], f"format={library}")
        return _export_onnx(cfg, backbone, texts, folder)
    return None


def _export_onnx(cfg: DictConfig, backbone: Backbone, texts: ClassTexts | None, folder: Path) -> str:
    """Write ONNX models with the model's own head or, for known classes, with a zero-shot head."""
    with setting(f"format={ONNX}"):
        check_takes_images(backbone.model)
        prompts = None
        if texts is not None:
            tables = CaptionTables(backbone.spec.tokenize)
            prompts = tables.of(texts.classnames, texts.templates).tokens
        name, images = _test_images(cfg, backbone)
        agreement = export_onnx(backbone, prompts, folder, images)
    comparison = _describe(agreement, name, has_logits=prompts is not None or backbone.model.head is not None)
    print_rank_zero(comparison)
    return comparison


def _test_images(cfg: DictConfig, backbone: Backbone) -> tuple[str, Tensor | None]:
    """Name of a test set of the run, the first that is in-distribution if there is one, and some of its images.

    Returns:
        (N, 3, H, W) uint8 images; None where the run's data can't be read, which is printed.
    """
    try:
        data: Any = build_data(with_recorded_data(cfg), backbone)
        data.trains = False
        data.shuffle_evaluation(seed=0, samples=TEST_IMAGES)
        eval_set = next((eval_set for eval_set in data.eval_sets if eval_set.role == "id"), data.eval_sets[0])
        images = torch.empty(0, *data.sample_shape, dtype=torch.uint8)
        for batch in data.eval_loader(eval_set):
            images = torch.cat([images, batch.images[batch.indices != IGNORE_INDEX]])
            if len(images) >= TEST_IMAGES:  # of data that are read in their own order
                break
        if not len(images):
            raise ValueError(f"no image of {eval_set.name} can be read")
    except (ValueError, OSError) as error:
        print_rank_zero(f"ONNX Runtime and PyTorch are compared on noise, and not on the run's test images: {error}")
        return "", None
    return eval_set.name, images[:TEST_IMAGES]


def _describe(agreement: Agreement, name: str, has_logits: bool) -> str:
    """A sentence on how well ONNX Runtime and torch agree on images of a test set or, without images, on noise."""
    count, difference = agreement.images, f"differ by at most {agreement.difference:.1g}"
    images = f"{count:,} test images of {name}"
    if count and has_logits:
        return (
            f"ONNX Runtime and PyTorch predict the same class for {agreement.same_class:,} of {images}, and their "
            f"features {difference}."
        )
    return f"On {images if count else 'noise'}, features of ONNX Runtime and PyTorch {difference}."


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


def _address(library: str | None, place: str, is_local: bool) -> str:
    """Name under which a library loads the model from a folder or from the hub."""
    if library in (TRANSFORMERS, ONNX):
        return place
    return f"{FOLDER if is_local else HUB}{place}"


def _loading_code(model: Model, library: str | None, place: str, is_local: bool) -> str | None:
    """The call that loads an exported model from a folder or from the hub; None where there is none."""
    if library == TRANSFORMERS != model.export_format:
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
