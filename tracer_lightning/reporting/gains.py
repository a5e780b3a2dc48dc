"""What training changed: accuracy against zero-shot, and the share of parameters that it trained."""

from __future__ import annotations

import statistics

from tracer_lightning.reporting.comparison import ZERO_SHOT, Cell, Place, Row, over_seeds
from tracer_lightning.reporting.published import ACCURACY
from tracer_lightning.reporting.runs import Run

GAIN_ID, GAIN_OOD, FORGETTING, TRAINED = "gain_id", "gain_ood", "forgetting", "trained_share"


def _of_run(run: Run, model: str) -> dict[Place, float]:
    """Gains and forgetting of a model of one run; nothing where the run lacks zero-shot scores."""
    before, after = run.scores.get(ZERO_SHOT, {}), run.scores[model]
    shared = [name for name, values in after.items() if "role" in values and name in before]
    sets = [name for name in shared if before[name][ACCURACY] is not None and after[name][ACCURACY] is not None]
    gains = {name: after[name][ACCURACY] - before[name][ACCURACY] for name in sets}
    losses = {name: max(before[name][ACCURACY] - after[name][ACCURACY], 0.0) for name in sets}
    measures = {
        GAIN_ID: {name: gain for name, gain in gains.items() if after[name]["role"] == "id"},
        GAIN_OOD: {name: gain for name, gain in gains.items() if after[name]["role"] == "ood"},
        FORGETTING: {name: loss for name, loss in losses.items() if after[name]["role"] != "id"},
    }
    return {
        Place(" ".join(values), metric): statistics.fmean(values.values())
        for metric, values in measures.items()
        if values
    }


def gains(row: Row) -> dict[Place, Cell]:
    """Accuracy of a row's runs against each run's own zero-shot accuracy, and the share of trained parameters.

    - ``gain_id``, ``gain_ood``: after less zero-shot, the mean over the sets of that role.
    - ``forgetting``: max(0, zero-shot − after), the mean over the sets of every role but ``id``: what sets gained does
      not make up for what others lost.
    - ``trained_share``: of the parameters; the same for all seeds, hence without deviation.

    Returns:
        Fractions. A place names all sets that it is over, separated by spaces, none for the share. What one of the
        runs lacks is left out; a zero-shot row has nothing.
    """
    if not row.runs:
        return {}
    found = over_seeds([_of_run(run, row.model) for run in row.runs])
    shares = [run.trained_share for run in row.runs if run.trained_share is not None]
    return {**found, Place("", TRAINED): Cell(shares[0])} if len(shares) == len(row.runs) else found
