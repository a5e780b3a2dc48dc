"""Data of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tracer_lightning.evaluation import Details, Scores
from tracer_lightning.evaluation.changes import SetChanges
from tracer_lightning.reporting.changed import ShownSample
from tracer_lightning.reporting.training_curves import Curve

MODELS = {"zero_shot": "before", "student": "student", "teacher": "teacher"}
"""Models, in the order of tables, and how they are called."""
METRICS = {"accuracy": "accuracy", "ece": "ECE", "macro_f1": "macro-F1"}
LOWER_IS_BETTER = ("ece",)


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

    @property
    def headline(self) -> str:
        """Metric that is shown first."""
        metric = self.settings.get("primary_metric")
        return metric if metric in METRICS else "accuracy"

    @property
    def metrics(self) -> list[str]:
        """Reported metrics, the headline first."""
        return sorted(METRICS, key=lambda metric: metric != self.headline)
