"""Data of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from tracer_lightning.evaluation.changes import SetChanges
from tracer_lightning.reporting.changed import ShownSample
from tracer_lightning.reporting.training_curves import Curve
from tracer_lightning.reporting.worst_pairs import WorstPair
from tracer_lightning.scores import CLASSIFICATION, Details, Metric, ScoreGrid, Scores

UNTRAINED = "zero_shot"
"""Key of the model before training."""
MODELS = {UNTRAINED: "before", "student": "student", "teacher": "teacher"}
"""Displayed names of the models, in the order of tables."""


class ChangedImages(NamedTuple):
    """Samples that a run forgot and learned."""

    changes: Mapping[str, SetChanges]
    """Changes by dataset."""
    shown: Mapping[str, Mapping[str, Sequence[ShownSample]]]
    """Samples to show by dataset and kind of change."""
    without_maps: str = ""
    """Reason why no maps are shown; empty if they are."""


class RunRecord(NamedTuple):
    """One run, finished or not."""

    title: str
    settings: Mapping[str, Any]
    """Resolved settings, nested."""
    scores: Mapping[str, Scores]
    """Scores by tested model: ``zero_shot`` (before training), ``student`` and ``teacher``."""
    details: Mapping[str, Mapping[str, Details]]
    """Details of the scores by model and dataset."""
    labels: Mapping[str, list[str]]
    """Names of the classes by dataset."""
    curves: Mapping[str, Curve]
    """Curves logged during training by name."""
    facts: Mapping[str, str]
    """Other facts about the run: date, duration, steps."""
    versions: Mapping[str, str]
    """Versions of Python and packages."""
    files: Mapping[str, str]
    """Descriptions of the files next to the report, by name."""
    problem: str = ""
    """Reason why the run did not finish; empty if it did."""
    changed: ChangedImages | None = None
    """Samples that the student forgot and learned; None if not requested."""
    declared: Sequence[Metric] = CLASSIFICATION
    """Metrics of the suite."""
    worst_pairs: Mapping[str, Sequence[WorstPair]] = MappingProxyType({})
    """Pairs whose match is found last, by data set with captions."""
    grid: ScoreGrid | None = None
    """Averages to show as a heat map; None if the suite has none."""
    alignment: Mapping[str, Any] | None = None
    """Entry ``alignment`` of results.json; None for runs without stage 1."""

    @property
    def headline(self) -> Metric:
        """Metric that is shown first."""
        return self.metrics[0]

    @property
    def metrics(self) -> list[Metric]:
        """Reported metrics, the headline first."""
        primary = self.settings.get("primary_metric")
        return sorted((metric for metric in self.declared if metric.shown), key=lambda metric: metric.name != primary)
