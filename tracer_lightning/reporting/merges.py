"""Find interpolated models on disk, which ``commands/merge.py`` evaluates, with the runs that they are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AllowInfNan, BaseModel, ConfigDict

from tracer_lightning.reporting.files import read_json
from tracer_lightning.reporting.merged import CURVES
from tracer_lightning.reporting.results_file import Scores
from tracer_lightning.reporting.runs import find_folders
from tracer_lightning.reporting.settings import Settings, recorded_settings
from tracer_lightning.storage.records import DisplayText, StrictRecord, read_record
from tracer_lightning.storage.run_layout import MERGE

OPTIONS = ("other_start", "head", "precision", "samples")
"""Options of a merge that determine its result, except alpha."""


class MergedRun(StrictRecord):
    """Run whose model was merged."""

    folder: DisplayText
    name: DisplayText
    seed: int
    settings: dict[str, bool | int | Annotated[float, AllowInfNan()] | str]
    """Settings that determine its result, as in :func:`tracer_lightning.reporting.settings.settings_of`."""


class MergeResults(BaseModel):
    """Entries of merge.json that are used; others are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    merge: DisplayText
    other_start: DisplayText | None = None
    """The start, where it is not the one that the run records."""
    head: DisplayText | None = None
    precision: DisplayText | None = None
    samples: int | None = None
    model: Literal["student", "teacher"]
    runs: list[MergedRun | None] | None = None
    scores: dict[DisplayText, Scores]


@dataclass(frozen=True)
class Interpolation:
    """Models between the start of a run and its end.

    Attributes:
        folder: Folder of the merge.
        curve: Name of the method of interpolation, such as ``WiSE-FT``.
        model: Model of the run at the end, ``student`` or ``teacher``.
        seed: Seed of the run.
        settings: Settings that determine the result of the run, except the seed.
        options: Options of the merge that determine its result, except alpha.
        scores: Scores by alpha, a number in [0, 1].
    """

    folder: Path
    curve: str
    model: str
    seed: int
    settings: Settings
    options: Settings
    scores: dict[float, Scores]


def read_interpolation(folder: Path) -> Interpolation:
    """Read the merge in a folder.

    Raises:
        ValueError: the file can't be read, the merge is no interpolation, or its run is not recorded.
    """
    path = folder / MERGE
    try:
        content: dict[str, Any] = read_json(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    results = read_record(MergeResults, content, f"{path} is not a valid file of a merge")
    if results.merge not in CURVES:
        raise ValueError(f"{path}: {results.merge} is no interpolation ({', '.join(CURVES)})")
    run = results.runs[0] if results.runs else None
    if run is None:
        raise ValueError(f"{path} does not say which run was merged; merge its finished run again")
    options = {name: getattr(results, name) for name in OPTIONS if getattr(results, name) is not None}
    scores = {_alpha(path, text): values for text, values in results.scores.items()}
    return Interpolation(
        folder, CURVES[results.merge], results.model, run.seed, recorded_settings(run.settings), options, scores
    )


def _alpha(path: Path, text: str) -> float:
    try:
        alpha = float(text)
    except ValueError:
        alpha = math.nan
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"{path}: alpha {text!r} is not a number in [0, 1]")
    return alpha


def find_interpolations(patterns: Iterable[str]) -> tuple[list[Interpolation], list[str]]:
    """Find all interpolations at and below folders or glob patterns, each once, in natural order of their paths.

    Returns:
        The interpolations, and a warning for each merge that is left out.

    Raises:
        ValueError: a pattern matches nothing.
    """
    interpolations, warnings = [], []
    for folder in find_folders(patterns, MERGE):
        try:
            interpolations.append(read_interpolation(folder))
        except ValueError as error:
            warnings.append(f"{error}; left out")
    return interpolations, warnings
