"""Reading results.json, which ``engine/run.py`` writes: the parts that tables and figures need."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AllowInfNan, BaseModel, BeforeValidator, ConfigDict, Field

from tracer_lightning.reporting.files import read_json
from tracer_lightning.scores import CLASSIFICATION, Metric
from tracer_lightning.storage.records import DisplayText, StrictRecord, Text, read_record

Scores = dict[DisplayText, dict[DisplayText, float | int | DisplayText | list[DisplayText] | None]]
"""Metrics by name of a data set (with split, role and number of samples) or of an average (with its data sets)."""
Known = Annotated[float, AllowInfNan(), BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number, NaN where the file has null."""
Validation = dict[DisplayText, dict[DisplayText, Known]]
"""Metrics of the student in the last validation by name of the validation set."""
Count = Annotated[int, Field(ge=0)]


class Parameters(StrictRecord):
    """Numbers of parameters of a model."""

    total: Annotated[int, Field(ge=1)]
    trained: Count


class MetricRecord(StrictRecord):
    """Declaration of a metric (:class:`tracer_lightning.evaluation.Metric`)."""

    title: DisplayText
    column: DisplayText
    better: Literal["higher", "lower"]
    percent: bool
    shown: bool
    averaged: bool


class Results(BaseModel):
    """Entries of results.json that are used; others are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    name: DisplayText | None = None
    method: DisplayText | None = None
    seed: int | None = None
    before: Scores | None = None
    zero_shot: Scores | None = None
    student: Scores | None = None
    teacher: Scores | None = None
    validation: Validation | None = None
    validation_is_test_set: bool | None = None
    start: Text | None = None
    precision: DisplayText | None = None
    parameters: Parameters | None = None
    versions: dict[DisplayText, DisplayText | None] | None = None
    metrics: dict[DisplayText, MetricRecord] | None = None

    @property
    def untrained(self) -> Scores | None:
        """Scores of the model before training."""
        return self.zero_shot if self.before is None else self.before

    @property
    def held_out(self) -> dict[str, float]:
        """Metrics of the last validation; empty where it was on a test set or the file does not say whether it was."""
        if self.validation_is_test_set is not False or not self.validation:
            return {}
        return next(iter(self.validation.values()))

    @property
    def declared_metrics(self) -> tuple[Metric, ...]:
        """Metrics of the suite; those of classification where the file does not declare any."""
        if self.metrics is None:
            return CLASSIFICATION
        return tuple(Metric(name, **dict(record)) for name, record in self.metrics.items())


def read_results(path: Path) -> Results:
    """Read and validate the results in a file.

    Raises:
        ValueError: the content is invalid; the message names the file and the entry.
    """
    content: dict[str, Any] = read_json(path)
    return read_record(Results, content, f"{path} is not a valid file of a run")
