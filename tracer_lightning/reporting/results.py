"""What results.json may say, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tracer_lightning.reporting.files import read_json
from tracer_lightning.storage.records import DisplayText, StrictRecord, Text, read_record

Scores = dict[DisplayText, dict[DisplayText, float | int | DisplayText | list[DisplayText] | None]]
"""Data set or average to its metrics, and to its split, role, number of samples, or sets."""
Count = Annotated[int, Field(ge=0)]


class Parameters(StrictRecord):
    """How many parameters a model has."""

    total: Annotated[int, Field(ge=1)]
    trained: Count


class Results(BaseModel):
    """The entries of results.json that are used; others are not looked at."""

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
    """The results in a file.

    Raises:
        ValueError: it holds something else; names the file and the entry.
    """
    content: dict[str, Any] = read_json(path)
    return read_record(Results, content, f"{path} is not as a run writes it")
