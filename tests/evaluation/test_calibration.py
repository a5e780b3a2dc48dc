import math

import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from tracer_lightning.evaluation.calibration import CalibrationBins, expected_calibration_error


def ece(metric):
    return expected_calibration_error(metric.compute())


def ece_of(probabilities, labels):
    metric = CalibrationBins()
    metric.update(probabilities, labels)
    return ece(metric)


def logits(size, classes=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(size)
    labels = torch.randint(0, classes, (size,), generator=generator)
    values = 3 * torch.randn(size, classes, generator=generator, dtype=dtype)
    values[torch.arange(size), labels] += 2.0
    return values.softmax(dim=1), labels


@pytest.mark.parametrize("size", [1, 10, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_those_of_torchmetrics(size, dtype):
    probabilities, labels = logits(size, dtype=dtype)
    theirs = MulticlassCalibrationError(7, n_bins=10, norm="l1")
    assert ece_of(probabilities, labels) == pytest.approx(theirs(probabilities, labels).item(), abs=1e-6)


def test_by_hand():
    """Confidences 0.75 (right), 0.55 (wrong) and exactly 1 (right)."""
    probabilities = torch.tensor([[0.75, 0.25], [0.55, 0.45], [1.0, 0.0]])
    error = ece_of(probabilities, torch.tensor([0, 1, 0]))
    assert error == pytest.approx((0.25 + 0.55 + 0.0) / 3, abs=1e-7)


def test_the_order_and_the_parts_do_not_matter_at_all():
    probabilities, labels = logits(5000)
    full = ece_of(probabilities, labels)
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    parts = CalibrationBins()
    for part in order.split(37):
        parts.update(probabilities[part], labels[part])
    assert ece(parts) == full


def test_half_precision_does_not_overflow_and_nan_is_not_hidden():
    error = ece_of(torch.tensor([[0.7, 0.3]], dtype=torch.float16), torch.tensor([0]))
    assert error == pytest.approx(0.3, abs=1e-3)
    probabilities, labels = logits(4)
    probabilities[2] = torch.nan
    assert math.isnan(ece_of(probabilities, labels))


def test_padding_is_not_counted():
    probabilities, labels = logits(100)
    padded = CalibrationBins()
    padded.update(torch.cat([probabilities, torch.full((9, 7), 1 / 7)]), torch.cat([labels, torch.full((9,), -1)]))
    assert ece(padded) == ece_of(probabilities, labels)
    empty = CalibrationBins()
    empty.update(torch.full((9, 7), 1 / 7), torch.full((9,), -1))
    assert math.isnan(ece(empty))
