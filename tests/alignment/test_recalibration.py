"""Recalibration of a source predictor."""

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import tiny_backbone
from tests.training_helpers import make_data
from tracer_lightning.alignment.encoding import TrainingSamples
from tracer_lightning.alignment.recalibration import Recalibration, measure_slopes, recalibrate, slopes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def problem():
    """A model, a steep linear head, and samples of the source."""
    model, samples = tiny_backbone().model.eval(), TrainingSamples(make_data(), 40, 0, CPU)
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 10)
    with torch.no_grad():
        head.weight *= 40
    return model, head, samples


def copied(head):
    other = torch.nn.Linear(16, 10)
    other.load_state_dict(head.state_dict())
    return other


def test_slopes_are_those_of_each_sample(problem):
    model, head, samples = problem
    images, labels = samples.batch(torch.arange(4))
    _, together = slopes(model, head, images, labels)
    visual = model.model.visual
    for number in range(4):
        tokens = (
            visual.ln_pre(
                torch.cat(
                    [visual.class_embedding[None, None], visual.conv1(images[number, None]).flatten(2).transpose(1, 2)],
                    1,
                )
                + visual.positional_embedding
            )
            .detach()
            .requires_grad_()
        )
        pooled = visual.ln_post(visual.transformer(tokens))[:, 0] @ visual.proj
        loss = F.cross_entropy(head(F.normalize(pooled, dim=-1)), labels[number, None])
        (gradient,) = torch.autograd.grad(loss, tokens)
        assert together[number].item() == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_a_penalty_makes_a_head_less_steep(problem):
    model, head, samples = problem
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = copied(head)
    first, last = recalibrate(model, trained, samples, Recalibration(1.0, 0.1, 30, 0.1), 20, seed=0)
    assert first == measure_slopes(model, head, samples, 0.1)
    assert last.slope < first.slope
    assert last.steep <= first.steep
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not trained.weight.requires_grad
    assert last.lipschitz == pytest.approx(torch.cdist(trained.weight, trained.weight).max().item() / 4, rel=1e-4)
    again = torch.nn.Linear(16, 10)  # of other weights, which don't matter: it is trained anew
    assert recalibrate(model, again, samples, Recalibration(1.0, 0.1, 30, 0.1), 20, seed=0)[1] == last


@pytest.mark.slow
def test_a_ruined_head_is_refused(problem):
    model, head, samples = problem
    good = copied(head)
    recalibrate(model, good, samples, Recalibration(0.0, 0.4, 60, 1.0), 40, seed=0)
    assert measure_slopes(model, good, samples, 0.4).accuracy > 0.5
    with pytest.raises(ValueError, match=r"recalibrate\.penalty=100 ruins the source predictor: .* smaller penalty"):
        recalibrate(model, good, samples, Recalibration(100.0, 0.1, 60, 1.0), 40, seed=0)
