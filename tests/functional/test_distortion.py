"""Entropies of source predictions and target labels, and the bound on the transported predictor's log-loss."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import entropy as entropy_of

from tracer_lightning.functional.distortion import (
    distortion,
    entropy,
    joint_distribution,
    label_given_source,
    lipschitz_constants,
    marginal_entropy,
    negative_information,
    transported_log_probabilities,
)


def draw(seed):
    """Random predictions of random sharpness, and labels of which some may be absent."""
    generator = torch.Generator().manual_seed(seed)
    count, source_classes, classes = (int(torch.randint(*limits, (1,), generator=generator)) for limits in
                                      ((5, 200), (2, 12), (2, 8)))  # fmt: skip
    sharpness = 3 * torch.rand(1, generator=generator, dtype=torch.double)
    logits = sharpness * torch.randn(count, source_classes, generator=generator, dtype=torch.double)
    return logits.softmax(dim=1), torch.randint(classes, (count,), generator=generator), classes


def loss_and_bound(probabilities, labels, classes):
    joint = joint_distribution(probabilities, labels, classes)
    loss = F.nll_loss(transported_log_probabilities(probabilities, label_given_source(joint)), labels)
    return loss.item(), (entropy(joint.sum(dim=1)) + negative_information(probabilities, labels)).item()


def test_the_log_loss_never_exceeds_the_bound():
    for seed in range(200):
        loss, bound = loss_and_bound(*draw(seed))
        assert loss <= bound + 1e-9


def test_the_bound_is_reached_where_predictions_are_certain():
    labels = torch.arange(60) % 6
    loss, bound = loss_and_bound(F.one_hot(labels // 2, 3).double(), labels, 6)
    assert loss == pytest.approx(bound) == pytest.approx(math.log(2))  # two labels for each source class


def test_it_is_the_mean_of_entropies_by_hand():
    probabilities, labels, _ = draw(0)
    by_hand = sum(
        (labels == label).double().mean() * entropy_of(probabilities[labels == label].mean(dim=0))
        for label in labels.unique()
    )
    assert distortion(probabilities, labels).item() == pytest.approx(by_hand.item(), abs=1e-9)
    assert marginal_entropy(probabilities).item() == pytest.approx(entropy_of(probabilities.mean(dim=0)), abs=1e-9)


def test_no_gradient_of_a_probability_exceeds_its_lipschitz_constant():
    generator = torch.Generator().manual_seed(0)
    weight = 3 * torch.randn(4, 6, generator=generator, dtype=torch.double)
    inputs = torch.randn(500, 6, generator=generator, dtype=torch.double)
    gradients = torch.func.vmap(torch.func.jacrev(lambda u: (weight @ u).softmax(dim=0)))(inputs)  # (N, S, D)
    assert (gradients.norm(dim=2).amax(dim=0) <= lipschitz_constants(weight)).all()


def test_the_lipschitz_constant_is_reached_between_two_classes():
    weight = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    assert lipschitz_constants(weight).tolist() == [1.0, 1.0]
    slope = torch.func.jacrev(lambda u: (weight @ u).softmax(dim=0))(torch.zeros(2))
    assert slope.norm(dim=1).tolist() == [1.0, 1.0]


def test_extremes():
    labels = torch.arange(40) % 4
    aligned, collapsed = F.one_hot(labels, 4).double(), F.one_hot(torch.zeros_like(labels), 4).double()
    uniform = torch.full((40, 10), 0.1, dtype=torch.double)
    assert distortion(aligned, labels).item() == pytest.approx(0, abs=1e-9)
    assert negative_information(aligned, labels).item() == pytest.approx(-math.log(4))
    assert distortion(uniform, labels).item() == pytest.approx(math.log(10))
    for term in (distortion, negative_information):
        assert term(collapsed, labels).item() == pytest.approx(0, abs=1e-9)
    assert marginal_entropy(collapsed).item() == pytest.approx(0, abs=1e-9)


def test_other_numbers_for_the_labels_change_nothing():
    probabilities, labels, _ = draw(1)
    assert distortion(probabilities, 7 - labels).item() == pytest.approx(distortion(probabilities, labels).item())


def test_gradients():
    probabilities, labels, _ = draw(2)
    logits = probabilities[:8].log().requires_grad_()
    torch.autograd.gradcheck(lambda x: negative_information(x.softmax(dim=1), labels[:8]), logits)
