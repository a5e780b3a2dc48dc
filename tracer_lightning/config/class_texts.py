"""Class names and templates that a finished model is used with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from tracer_lightning.config.checkpoint import reference, weights_file
from tracer_lightning.config.errors import setting
from tracer_lightning.data.images.names import parse_templates, parse_texts, read_classnames, read_templates
from tracer_lightning.engine.run_folder import CLASSES
from tracer_lightning.models.open_clip.pretrained import FOLDER
from tracer_lightning.reporting.files import read_json
from tracer_lightning.storage.records import DisplayText, StrictRecord, read_record
from tracer_lightning.types import ClassTexts

TEMPLATES = ("a photo of a {c}.",)
"""Templates of classes that come without any."""
Texts = Annotated[list[DisplayText], Field(min_length=1, max_length=1_000_000)]


class ClassesFile(StrictRecord):
    """Content of the file of class names and templates in the folder of a run or of an exported model."""

    classnames: Texts
    templates: Texts


def recorded_class_texts(checkpoint: str | None) -> ClassTexts | None:
    """Class names and templates in the folder of a run or exported model; None where it has none."""
    if checkpoint is None:
        return None
    if (model := reference(checkpoint)) is not None:
        folders = [Path(model[0].removeprefix(FOLDER))] if model[0].startswith(FOLDER) else []
    else:
        file = weights_file(checkpoint)
        assert file is not None
        folders = [file.absolute().parent, file.absolute().parent.parent]
    for path in (folder / CLASSES for folder in folders):
        if path.is_file():
            record = read_record(ClassesFile, read_json(path), str(path))
            return ClassTexts(tuple(record.classnames), tuple(record.templates))
    return None


def class_texts(cfg: DictConfig) -> ClassTexts:
    """Class names and templates that ``classes`` and ``templates`` give or, where they are null, the checkpoint.

    Raises:
        ValueError: there are no class names, or the texts are invalid.
    """
    recorded = recorded_class_texts(cfg.checkpoint)
    classnames = _given(cfg, "classes", read_classnames, parse_texts) or (recorded and recorded.classnames)
    templates = _given(cfg, "templates", read_templates, parse_templates) or (recorded and recorded.templates)
    if not classnames:
        raise ValueError(
            f"classes is not set, and there is no {CLASSES} beside {cfg.checkpoint}; give a list, or a file with one "
            "class a line"
        )
    return ClassTexts(classnames, templates or TEMPLATES)


def _given(
    cfg: DictConfig,
    key: str,
    read: Callable[[Path], list[str]],
    parse: Callable[[str, Any], Sequence[str] | None],
) -> tuple[str, ...] | None:
    """The texts of a setting, which is a list, the path of a file, or null."""
    value = cfg[key]
    if isinstance(value, str):
        with setting(key):
            if not Path(value).is_file():
                raise ValueError(f"there is no file {value}; give a list, or a file with one text a line")
            return tuple(read(Path(value)))
    texts = parse(key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
    return None if texts is None else tuple(texts)
