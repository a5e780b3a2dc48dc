"""Samples counted in bins of confidence, as evaluations keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tracer_lightning.evaluation.calibration import ECE_BINS, expected_calibration_error

Bins = Mapping[str, Sequence[float]]
"""``n``, ``correct`` and summed ``confidence`` of ten equal bins of confidence, and of an eleventh for exactly 1."""
FEW = 10
"""Samples below which diagrams draw a bin pale: its accuracy is little more than chance."""
WIDTH = 1 / ECE_BINS
CENTRES = (np.arange(ECE_BINS) + 0.5) * WIDTH


def ece_of(bins: Bins) -> float:
    """Expected calibration error in [0, 1] of samples counted in bins."""
    return expected_calibration_error(torch.tensor([bins["n"], bins["correct"], bins["confidence"]]).double().T)


def merged(bins: Bins) -> Any:
    """What diagrams draw, where samples of confidence 1 have joined the tenth bin.

    Returns:
        (3, 10) array: samples, accuracy and mean confidence of each bin, 0 where it is empty or was no number.
    """
    table = np.nan_to_num(np.array([bins["n"], bins["correct"], bins["confidence"]], dtype=float))  # (3, 11)
    table[:, ECE_BINS - 1] += table[:, ECE_BINS]
    n, correct, confidence = table[:, :ECE_BINS]
    return np.stack([n, correct / np.maximum(n, 1), confidence / np.maximum(n, 1)])
