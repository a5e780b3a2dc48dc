"""Counts of samples in bins of confidence, as evaluations store them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tracer_lightning.scores import ECE_BINS

Bins = Mapping[str, Sequence[float]]
"""Values ``n``, ``correct`` and summed ``confidence`` of ten equal bins, and of an eleventh for confidence 1."""
FEW = 10
"""Number of samples below which diagrams draw a bin pale, as its accuracy is little more than chance."""
WIDTH = 1 / ECE_BINS
"""Width of a bin."""
CENTRES = (np.arange(ECE_BINS) + 0.5) * WIDTH


def binned_ece(bins: Bins) -> float:
    """Expected calibration error in [0, 1] of samples counted in bins."""
    import torch  # takes seconds, and pages of many runs only draw the bins

    from tracer_lightning.evaluation.calibration import expected_calibration_error

    return expected_calibration_error(torch.tensor([bins["n"], bins["correct"], bins["confidence"]]).double().T)


def bin_statistics(bins: Bins) -> Any:
    """Statistics that diagrams draw, with samples of confidence 1 merged into the tenth bin.

    Returns:
        (3, 10) array of samples, accuracy and mean confidence of each bin, 0 for empty bins and for NaN.
    """
    table = np.nan_to_num(np.array([bins["n"], bins["correct"], bins["confidence"]], dtype=float))  # (3, 11)
    table[:, ECE_BINS - 1] += table[:, ECE_BINS]
    n, correct, confidence = table[:, :ECE_BINS]
    return np.stack([n, correct / np.maximum(n, 1), confidence / np.maximum(n, 1)])
