"""Published results of fine-tuning Qwen2.5-VL-3B on ImageNet questions (arXiv:2603.14493, Table 1)."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping, Sequence
from importlib.resources import files

from tracer_lightning.reporting.published_value import PublishedValue
from tracer_lightning.reporting.settings import BACKBONE, METHOD, PEFT, TRAINED_PARTS, Settings

SOURCE = "arXiv:2603.14493"
MODEL = "Qwen/Qwen2.5-VL-3B-Instruct"
TASK = "imagenet_vqa"
"""Test set of the task that is trained, as ``experiment=mllm_imagenet_vqa`` names it."""
CELLS: Mapping[str, tuple[str, frozenset[str]]] = {
    "image_id/text_task": ("ood_text_id_image_change_points", frozenset({"imagewikiqa"})),
    "image_ood/text_task": ("ood_text_ood_image_change_points", frozenset({"mmmu", "vmcbench"})),
}
"""Column of the table, and test sets, of each cell of the grid."""


@functools.cache
def _rows() -> Mapping[tuple[str, str, float], Mapping[str, float]]:
    """Rows of the table, as fractions, by trained part, adapters and learning rate."""
    file = files("tracer_lightning.reporting") / "published_tables" / "mllm_forgetting_table_1.csv"
    rows = {}
    for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        setting = (f'["{row.pop("trained")}"]', row.pop("peft"), float(row.pop("learning_rate")))
        rows[setting] = {name: float(value) / 100 for name, value in row.items()}
    return rows


def _row(settings: Settings) -> Mapping[str, float]:
    """Row of the table for a run with these settings; empty if there is none."""
    if settings.get(BACKBONE) != MODEL or settings.get(METHOD) != "sft":
        return {}
    rate = settings.get("optimizer.lr")
    key = (str(settings.get(TRAINED_PARTS)), str(settings.get(PEFT, "none")), rate)
    return next((values for setting, values in _rows().items() if setting == key), {})


def find_task_accuracy(settings: Settings, data_set: str) -> PublishedValue | None:
    """Find the published accuracy of a fine-tuned model on the task; None for other sets and settings.

    Args:
        settings: settings of the run.
        data_set: name of the test set.
    """
    row = _row(settings) if data_set == TASK else {}
    return PublishedValue(row["id_accuracy_percent"], 1, SOURCE) if row else None


def find_changes(settings: Settings, averages: Mapping[str, Sequence[str]]) -> dict[str, PublishedValue]:
    """Find the published changes of accuracy by fine-tuning, as fractions, by cell of the grid.

    Args:
        settings: settings of the run.
        averages: test sets of each average of the run; those of a cell must be those of the paper.
    """
    row = _row(settings)
    return {
        cell: PublishedValue(row[column], 1, SOURCE)
        for cell, (column, members) in CELLS.items()
        if row and frozenset(averages.get(cell, ())) == members
    }
