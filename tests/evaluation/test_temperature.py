import math

import pytest
import torch
import torch.nn.functional as F

from tracer_lightning.evaluation.calibration import CalibrationBins, expected_calibration_error
from tracer_lightning.evaluation.temperature import TemperatureScaling, fit_temperature


def data(seed, size=2000, scale=1.0):
    """Labels drawn from the softmax of the logits, which are then multiplied: the best temperature is ``scale``."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(size, 6, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return scale * logits, labels


def ece(logits, labels):
    metric = CalibrationBins()
    metric.update(logits.softmax(dim=1), labels)
    return expected_calibration_error(metric.compute())


@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0])
def test_it_is_the_minimum_of_the_cross_entropy(scale):
    logits, labels = data(0, scale=scale)
    temperature = torch.tensor(fit_temperature(logits, labels), dtype=torch.float64, requires_grad=True)
    assert temperature.item() == pytest.approx(scale, rel=0.1)
    F.cross_entropy(logits.double() / temperature, labels).backward()
    assert abs(temperature.grad.item() * scale) < 1e-5


def test_it_is_fitted_on_the_first_set_and_applied_to_all():
    first, second = data(1, scale=4.0), data(2, scale=4.0)
    scaling = TemperatureScaling(["val", "test"])
    for index, (logits, labels) in enumerate((first, second)):
        for part in range(0, 2000, 500):
            padded = torch.cat([labels[part : part + 500], torch.full((3,), -1)])
            scaling.update(index, torch.cat([logits[part : part + 500], torch.zeros(3, 6)]), padded)
    result = scaling.compute()
    assert result["fitted_on"] == "val"
    assert result["temperature"] == fit_temperature(*first)
    for name, (logits, labels) in {"val": first, "test": second}.items():
        assert result["ece"][name] == pytest.approx(ece(logits / result["temperature"], labels), abs=1e-12)
        assert result["ece"][name] < 0.5 * ece(logits, labels)
    scaling.reset()
    for index, part in enumerate((second, first)):
        scaling.update(index, *part)
    assert scaling.compute()["temperature"] == fit_temperature(*second)


def test_it_is_fitted_on_a_single_sample():
    scaling = TemperatureScaling(["val"])
    scaling.update(0, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0]))
    assert scaling.compute()["ece"]["val"] == pytest.approx(0.0, abs=1e-3)


def test_logits_that_are_no_numbers_have_no_temperature():
    logits, labels = data(0, size=20)
    logits[3, 2] = torch.nan
    assert math.isnan(fit_temperature(logits, labels))


def test_fitting_without_samples_raises_an_error():
    with pytest.raises(ValueError, match="no samples"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0).long())
