"""Published results (arXiv:2605.29380, Tables 1, 2 and 5 to 11), and those that a run may be compared with."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from tracer_lightning.reporting.published_value import PublishedValue
from tracer_lightning.reporting.settings import (
    BACKBONE,
    BETA,
    EVAL_BATCH,
    EVERY,
    KERNEL,
    METHOD,
    PEFT,
    STRENGTH,
    TEACHER,
    TERMS,
    WEIGHTS,
    Settings,
    Value,
    term_names,
)

SOURCE = "arXiv:2605.29380"
ACCURACY, ECE, PER_BATCH = "accuracy", "ece", "ece_per_batch"
SWEPT = {"terms": TERMS, "lambda_sd": STRENGTH, "update_every": EVERY, "beta": BETA}
"""Our settings by the paper's names."""
FULL: Settings = {TERMS: "fd+crd+icl+cross_kd", EVERY: 1, BETA: 0.5}
STRENGTHS = {"ViT-B-16": 0.9, "ViT-L-14": 0.9, "RN50": 0.01}
TRACER = "tracer"
METHODS = {"ft": "direct_ft"}
"""The paper's names of methods by ours, where they differ."""
CLASSES = {TEACHER: "WMATeacher", KERNEL: "BetaKernel"}
DATA_SETS = {"imagenet-v2": "imagenetv2"}
OOD = frozenset({"imagenetv2", "imagenet-r", "imagenet-a", "imagenet-sketch", "objectnet"})
AVERAGES = {OOD: "avg_ood", OOD - {"objectnet"}: "avg_ood_without_objectnet"}
FREQUENCY_TABLE = 10
NOTES = {
    ECE: "† The published ECE is the mean of the ECEs of batches, the measured one is over the data set: not the same "
    "measure. With ece_per_batch, runs measure the former, too.",
    PER_BATCH: "ECE per batch is the mean of the ECEs of batches, as published; it depends on their size and order.",
    FREQUENCY_TABLE: "Table 10 was published from runs whose kernel's clock counts updates of the teacher; it counts "
    "optimizer steps here, unless clock_counts_updates is set.",
}


class PublishedKey(NamedTuple):
    """Identification of a published value; the setting is None in the main tables, else our key and its value."""

    backbone: str
    method: str
    setting: tuple[str, Value] | None
    data_set: str
    metric: str


BATCH = 512
"""Batch size of each ECE in the paper's mean."""


def _setting(text: str) -> tuple[str, Value] | None:
    if not text:
        return None
    name, _, value = text.partition("=")
    return SWEPT[name], term_names(set(value.split("+")) - {"none"}) if name == "terms" else float(value)


@functools.cache
def published() -> Mapping[PublishedKey, PublishedValue]:
    """Read all published values; of those in two tables the one in the table with the lower number."""
    values: dict[PublishedKey, PublishedValue] = {}
    text = (files("tracer_lightning.reporting") / "published_tables" / "tracer_paper_tables.csv").read_text(
        encoding="utf-8"
    )
    for row in csv.DictReader(text.splitlines()):
        percent = row["metric"] == "accuracy_percent"
        metric, scale = (ACCURACY, 100) if percent else (PER_BATCH, 1)
        key = PublishedKey(row["backbone"], row["method"], _setting(row["setting"]), row["dataset"], metric)
        values.setdefault(key, PublishedValue(float(row["value"]) / scale, int(row["table"]), SOURCE))
    return values


def paper_backbone(settings: Settings) -> str:
    """The paper's name of a run's backbone, such as ``ViT-B-16``.

    It is empty if the weights are not OpenAI's, or if the run did not train all weights that the method trains.
    """
    weights = str(settings.get(WEIGHTS, ""))
    other_weights = any(key.partition(".")[0] in ("init_weights", "prerequisite") for key in settings)
    other_weights = other_weights or settings.get(PEFT, "none") != "none"
    comparable = not other_weights and (weights == "openai" or "/" in weights)  # a file is assumed to hold them
    return str(settings.get(BACKBONE, "")).removesuffix("-quickgelu") if comparable else ""


def _settings_in_paper(settings: Settings, swept: str | None) -> list[tuple[str, Value] | None]:
    """Settings under which to look up a run of TRACER: first the table of the swept key, then the main tables (None).

    There is none for a run with another teacher, or in which two of the paper's swept settings are changed.
    """
    if any(str(settings.get(key, "")).rpartition(".")[2] != name for key, name in CLASSES.items()):
        return []
    main: Settings = {**FULL, STRENGTH: STRENGTHS.get(paper_backbone(settings), 0.0)}
    changed = [key for key, value in main.items() if settings.get(key) != value]
    if changed:
        return [(changed[0], settings.get(changed[0], ""))] if len(changed) == 1 else []
    return [(swept, main[swept]), None] if swept in main else [None]


def paper_data_set(name: str, scores: Mapping[str, Mapping[str, Any]]) -> str:
    """The paper's name of a dataset or of an average, identified by its members; empty if it has none."""
    if "role" in scores[name]:
        return DATA_SETS.get(name, name)
    members = scores[name].get("sets") or [member for member in scores if scores[member].get("role") == "ood"]
    return AVERAGES.get(frozenset(DATA_SETS.get(member, member) for member in members), "")


def find(settings: Settings, model: str, swept: str | None, data_set: str, metric: str) -> PublishedValue | None:
    """Find the published value that corresponds to a run's result; None if there is none.

    Args:
        settings: settings of the run.
        model: model of the result, ``student`` or ``zero_shot``; the paper has no results of teachers.
        swept: the only key that varies among the runs.
        data_set: the paper's name of the dataset.
        metric: ``accuracy`` or ``ece_per_batch``.
    """
    if metric == PER_BATCH and settings.get(EVAL_BATCH, BATCH) != BATCH:
        return None
    name = str(settings.get(METHOD))
    method = {"student": METHODS.get(name, name), "zero_shot": "zero_shot"}.get(model)
    candidates = _settings_in_paper(settings, swept) if method == TRACER else [None]
    keys = (PublishedKey(paper_backbone(settings), str(method), setting, data_set, metric) for setting in candidates)
    return next((published()[key] for key in keys if key in published()), None)


def curve(settings: Settings, swept: str, data_set: str, metric: str) -> dict[Value, float]:
    """All published values of an ablation by the value of the swept setting; empty if there are none.

    Args:
        settings: settings of any run of the sweep.
        swept: the key that varies.
        data_set: the paper's name of the dataset.
        metric: ``accuracy`` or ``ece_per_batch``.
    """
    points = {}
    for key, value in published().items():
        if key.setting and key.setting[0] == swept and (key.data_set, key.metric) == (data_set, metric):
            comparable = find({**settings, swept: key.setting[1]}, "student", swept, data_set, metric)
            if comparable == value:
                points[key.setting[1]] = value.value
    return points
