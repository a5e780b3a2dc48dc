"""Schema of results.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tracer_lightning.reporting.files import read_json
from tracer_lightning.storage.records import DisplayText, StrictRecord, Text, read_record

Scores = dict[DisplayText, dict[DisplayText, float | int | DisplayText | list[DisplayText] | None]]
"""Metrics by data set or average, with its split, role and number of samples, or its sets."""
Count = Annotated[int, Field(ge=0)]


class Parameters(StrictRecord):
    """Numbers of parameters of a model."""

    total: Annotated[int, Field(ge=1)]
    trained: Count


class Results(BaseModel):
    """Entries of results.json that are used; others are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    name: DisplayText | None = None
    seed: int | None = None
    zero_shot: Scores | None = None
    student: Scores | None = None
    teacher: Scores | None = None
    start: Text | None = None
    precision: DisplayText | None = None
    parameters: Parameters | None = None
    versions: dict[DisplayText, DisplayText | None] | None = None


def read_results(path: Path) -> Results:
    """Read and validate the results in a file.

    Raises:
        ValueError: the content is invalid; the message names the file and the entry.
    """
    content: dict[str, Any] = read_json(path)
    return read_record(Results, content, f"{path} is not as a run writes it")
