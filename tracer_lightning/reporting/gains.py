"""Changes by training: accuracy against zero-shot, and the share of trained parameters."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace

from tracer_lightning.reporting.comparison import (
    ComparisonRow,
    Measurement,
    ResultKey,
    over_seeds,
)
from tracer_lightning.reporting.model_choices import STUDENT, ZERO_SHOT
from tracer_lightning.reporting.published_forgetting import find_changes
from tracer_lightning.reporting.published_value import PublishedValue
from tracer_lightning.reporting.runs import Run
from tracer_lightning.scores import headline_of

GAIN_ID, GAIN_OOD, GAIN_OTHER = "gain_id", "gain_ood", "gain_other"
GAIN, FORGETTING, TRAINED = "gain", "forgetting", "trained_share"
GAINED_ROLES = {GAIN_ID: "id", GAIN_OOD: "ood", GAIN_OTHER: "other"}
"""Roles of the sets that gains are averaged over."""


def _run_gains(run: Run, model: str, published: Mapping[ResultKey, PublishedValue]) -> dict[ResultKey, float]:
    """Gains and forgetting of a model of one run; empty if the run has no scores before training."""
    before, after, gains = run.scores.get(ZERO_SHOT, {}), run.scores[model], dict[str, float]()
    for name, values in after.items():
        metric = headline_of(values, run.metrics) if name in before else None
        if metric is None:
            continue
        old, new = before[name].get(metric.name), values[metric.name]
        if old is not None and new is not None:
            gains[name] = new - old if metric.better == "higher" else old - new
    roles = {name: after[name].get("role") for name in gains}  # averages have none
    measures = {
        **{
            measure: {name: gain for name, gain in gains.items() if roles.get(name) == role}
            for measure, role in GAINED_ROLES.items()
        },
        FORGETTING: {name: max(-gain, 0.0) for name, gain in gains.items() if roles.get(name) not in (None, "id")},
    }
    means = {
        ResultKey(" ".join(values), name): statistics.fmean(values.values())
        for name, values in measures.items()
        if values
    }
    return {**means, **{key: gains[key.data_set] for key in published if key.data_set in gains}}


def gains(row: ComparisonRow) -> dict[ResultKey, Measurement]:
    """Changes of a row's runs against each run's model before training, and trained parameters.

    Of each set, the change is that of its headline metric, such as accuracy or recall.

    - ``gain_id``, ``gain_ood``, ``gain_other``: improvement (of accuracy, after minus zero-shot), averaged over the
      sets of that role.
    - ``forgetting``: max(0, −improvement), averaged over the sets of every role but ``id``, so that gains on some
      sets do not offset losses on others.
    - ``gain``: improvement of the averages whose changes were published, of the student.
    - ``trained_share``: share of trained parameters; the same for all seeds, hence without standard deviation.

    Returns:
        Fractions. The dataset of a key names all sets of the mean, separated by spaces, or the average whose change was
        published; it is empty for the share. Values that one of the runs lacks are left out; a zero-shot row has none.
    """
    if not row.runs:
        return {}
    averages = {name: values["sets"] for name, values in row.scores.items() if "sets" in values}
    changes = find_changes(row.settings, averages) if row.model == STUDENT else {}
    published = {ResultKey(average, GAIN): value for average, value in changes.items()}
    measured = over_seeds([_run_gains(run, row.model, published) for run in row.runs])
    measured = {key: replace(cell, published=published.get(key)) for key, cell in measured.items()}
    shares = [run.trained_share for run in row.runs if run.trained_share is not None]
    return {**measured, ResultKey("", TRAINED): Measurement(shares[0])} if len(shares) == len(row.runs) else measured
