"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tracer_lightning.evaluation import Details, Scores
from tracer_lightning.evaluation.changes import SetChanges
from tracer_lightning.reporting.changed import Shown
from tracer_lightning.reporting.training_curves import Curve

MODELS = {"zero_shot": "before", "student": "student", "teacher": "teacher"}
"""Models, in the order of tables, and how they are called."""
METRICS = {"accuracy": "accuracy", "ece": "ECE", "macro_f1": "macro-F1"}
LOWER_IS_BETTER = ("ece",)


class ChangedPictures(NamedTuple):
    """What a run forgot and learned."""

    changes: Mapping[str, SetChanges]
    shown: Mapping[str, Mapping[str, Sequence[Shown]]]
    """By data set and kind."""
    without_maps: str = ""
    """Why no maps are shown; empty where they are."""


class RunRecord(NamedTuple):
    """One run, finished or not."""

    title: str
    settings: Mapping[str, Any]
    """Nested, resolved."""
    scores: Mapping[str, Scores]
    """By those of ``zero_shot`` (before training), ``student`` and ``teacher`` that were tested."""
    details: Mapping[str, Mapping[str, Details]]
    """What the scores are made of, by the same models and by data set."""
    labels: Mapping[str, list[str]]
    """Names of the classes of each data set."""
    curves: Mapping[str, Curve]
    """What was logged during training, by name."""
    facts: Mapping[str, str]
    """What else is told of the run: date, duration, steps."""
    versions: Mapping[str, str]
    """Of Python and packages."""
    files: Mapping[str, str]
    """Files beside the report, and what is in them."""
    problem: str = ""
    """Why the run did not finish; empty where it did."""
    changed: ChangedPictures | None = None
    """What the student forgot and learned; None where nobody asked."""

    @property
    def headline(self) -> str:
        """The metric that comes first."""
        chosen = self.settings.get("primary_metric")
        return chosen if chosen in METRICS else "accuracy"

    @property
    def metrics(self) -> list[str]:
        """Those reported, the headline first."""
        return sorted(METRICS, key=lambda metric: metric != self.headline)
