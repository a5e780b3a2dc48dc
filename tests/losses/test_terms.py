"""Every loss against a hand-computed value, a naive loop and numerical gradients."""

import math
from typing import NamedTuple

import pytest
import torch

from tests.conftest import random_features
from tracer_lightning.losses import (
    AugmentedFeatureDistillation,
    ContrastiveRelationalDistillation,
    CrossKnowledgeDistillation,
    FeatureDistillation,
    GradientDistillation,
    InfoNCE,
    InteractiveContrastiveLearning,
    SoftCrossEntropy,
)
from tracer_lightning.types import ClipFeatures, LossInputs


class Width(NamedTuple):
    """A model of features as wide as the fixture's."""

    text_projection: torch.Tensor


torch.manual_seed(0)
LOSSES = [
    InfoNCE(),
    InfoNCE("same_label", label_smoothing=0.1),
    FeatureDistillation(),
    FeatureDistillation(mean_over_features=True),
    ContrastiveRelationalDistillation(),
    ContrastiveRelationalDistillation(halved=True),
    InteractiveContrastiveLearning(),
    InteractiveContrastiveLearning("same_label"),
    CrossKnowledgeDistillation(),
    SoftCrossEntropy(),
    SoftCrossEntropy(temperature=2.0),
    ContrastiveRelationalDistillation(halved=True, temperature=0.5),
    GradientDistillation(),
    AugmentedFeatureDistillation(Width(torch.zeros(3, 5))).double(),
]


def rows(queries, keys, scale):
    """Softmax of scaled similarities by explicit loops: list of lists of floats."""
    table = []
    for q in queries.tolist():
        logits = [float(scale) * sum(a * b for a, b in zip(q, k, strict=True)) for k in keys.tolist()]
        top = max(logits)
        norm = sum(math.exp(value - top) for value in logits)
        table.append([math.exp(value - top) / norm for value in logits])
    return table


def cross_entropy(table, targets):
    return -sum(t * math.log(p) for ps, ts in zip(table, targets, strict=True) for p, t in zip(ps, ts, strict=True)) / (
        len(table)
    )


def kl(teacher, student):
    return sum(
        p * math.log(p / q) for ps, qs in zip(teacher, student, strict=True) for p, q in zip(ps, qs, strict=True)
    ) / len(teacher)


def targets(inputs, positives, smoothing=0.0):
    labels = inputs.student.labels.tolist()
    size = len(labels)
    table = []
    for i in range(size):
        same = [j for j in range(size) if (j == i if positives == "diagonal" else labels[j] == labels[i])]
        table.append([(1 - smoothing) * (1 / len(same) if j in same else 0.0) + smoothing / size for j in range(size)])
    return table


def contrastive_gradients(features):
    """Compute gradients of InfoNCE with respect to image and text features by autograd."""
    image, text = (value.detach().requires_grad_() for value in features[:2])
    return torch.autograd.grad(
        InfoNCE()(LossInputs(ClipFeatures(image, text, features.logit_scale), None)), (image, text)
    )


def affine(layer, vector):
    products = ([w * x for w, x in zip(row, vector, strict=True)] for row in layer.weight.tolist())
    return [sum(row) + bias for row, bias in zip(products, layer.bias.tolist(), strict=True)]


def naive(loss, inputs):
    s, t = inputs.student, inputs.teacher
    size, width = s.image.shape
    match loss:
        case InfoNCE():
            y = targets(inputs, loss.positives, loss.label_smoothing)
            return 0.5 * (
                cross_entropy(rows(s.image, s.text, s.logit_scale), y)
                + cross_entropy(rows(s.text, s.image, s.logit_scale), y)
            )
        case FeatureDistillation():
            total = ((t.image - s.image) ** 2).sum().item() + ((t.text - s.text) ** 2).sum().item()
            return total / size / (width if loss.mean_over_features else 1)
        case ContrastiveRelationalDistillation():
            scale = t.logit_scale / loss.temperature
            total = kl(rows(t.image, t.text, scale), rows(s.image, s.text, s.logit_scale)) + kl(
                rows(t.text, t.image, scale), rows(s.text, s.image, s.logit_scale)
            )
            return total / 2 if loss.halved else total
        case InteractiveContrastiveLearning():
            y = targets(inputs, loss.positives)
            return 0.5 * (
                cross_entropy(rows(s.image, t.text, s.logit_scale), y)
                + cross_entropy(rows(s.text, t.image, s.logit_scale), y)
            )
        case CrossKnowledgeDistillation():
            return 0.5 * (
                kl(rows(t.image, t.text, t.logit_scale), rows(s.image, t.text, s.logit_scale))
                + kl(rows(t.text, t.image, t.logit_scale), rows(s.text, t.image, s.logit_scale))
            )
        case SoftCrossEntropy():
            scale = t.logit_scale / loss.temperature
            image_to_text = cross_entropy(rows(s.image, s.text, s.logit_scale), rows(t.image, t.text, scale))
            return image_to_text + cross_entropy(rows(s.text, s.image, s.logit_scale), rows(t.text, t.image, scale))
        case GradientDistillation():
            pairs = zip(contrastive_gradients(s), contrastive_gradients(t), strict=True)
            return sum(((first - second) ** 2).sum().item() for first, second in pairs) / size / width
        case AugmentedFeatureDistillation():
            image = [
                affine(loss.image_fusion, [*a, *b]) for a, b in zip(s.image.tolist(), t.image.tolist(), strict=True)
            ]
            text = [affine(loss.text_fusion, [*a, *b]) for a, b in zip(s.text.tolist(), t.text.tolist(), strict=True)]
            image, text = torch.tensor(image, dtype=torch.double), torch.tensor(text, dtype=torch.double)
            y = targets(inputs, "diagonal")
            return 0.5 * (
                cross_entropy(rows(image, text, s.logit_scale), y) + cross_entropy(rows(text, image, s.logit_scale), y)
            )


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{type(loss).__name__}-{vars(loss).get('positives', '')}")
def test_equals_a_naive_loop(loss, inputs):
    assert loss(inputs).item() == pytest.approx(naive(loss, inputs), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_gradients(loss, inputs):
    def function(image, text, scale):
        return loss(LossInputs(ClipFeatures(image, text, scale, inputs.student.labels), inputs.teacher))

    assert torch.autograd.gradcheck(function, tuple(inputs.student[:3]))


@pytest.fixture
def by_hand():
    """Two samples in the plane: the student's pairs are orthogonal, the teacher's are swapped at 60 degrees."""
    student = ClipFeatures(torch.eye(2).double(), torch.eye(2).double(), torch.tensor(2.0).double())
    half, root = 0.5, math.sqrt(3) / 2
    image = torch.tensor([[half, root], [root, half]]).double()
    teacher = ClipFeatures(image, torch.eye(2).double(), torch.tensor(1.0).double())
    return LossInputs(student._replace(labels=torch.tensor([0, 0])), teacher)


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def test_info_nce_by_hand(by_hand):
    assert InfoNCE()(by_hand).item() == pytest.approx(-log_sigmoid(2.0))
    same = -0.5 * (log_sigmoid(2.0) + log_sigmoid(-2.0))  # both captions are positives
    assert InfoNCE("same_label")(by_hand).item() == pytest.approx(same)


def test_feature_distillation_by_hand(by_hand):
    squared = 0.5**2 + (math.sqrt(3) / 2) ** 2 + 1 - 2 * 0.5  # |(1, 0) - (1/2, sqrt(3)/2)|^2 = 1
    assert FeatureDistillation()(by_hand).item() == pytest.approx(squared)
    assert FeatureDistillation(mean_over_features=True)(by_hand).item() == pytest.approx(squared / 2)


def test_relational_distillation_by_hand(by_hand):
    gap = math.sqrt(3) / 2 - 0.5  # the teacher's second logit minus its first, scale 1; p = sigmoid(-gap)
    p = 1 / (1 + math.exp(gap))
    one_way = p * (math.log(p) - log_sigmoid(2.0)) + (1 - p) * (math.log(1 - p) - log_sigmoid(-2.0))
    assert ContrastiveRelationalDistillation()(by_hand).item() == pytest.approx(2 * one_way)
    assert ContrastiveRelationalDistillation(halved=True)(by_hand).item() == pytest.approx(one_way)


def test_soft_cross_entropy_by_hand(by_hand, inputs):
    gap = math.sqrt(3) / 2 - 0.5
    p = 1 / (1 + math.exp(gap))
    one_way = -p * log_sigmoid(2.0) - (1 - p) * log_sigmoid(-2.0)
    assert SoftCrossEntropy()(by_hand).item() == pytest.approx(2 * one_way)
    gradients = [
        torch.autograd.grad(loss(inputs), inputs.student[:3])
        for loss in (SoftCrossEntropy(), ContrastiveRelationalDistillation())
    ]
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_interactive_and_cross_knowledge_by_hand(by_hand):
    gap = math.sqrt(3) / 2 - 0.5
    image_side = -log_sigmoid(2.0)  # the teacher's texts are the student's
    text_side = -log_sigmoid(-2.0 * gap)  # the student's texts see the teacher's images, scale 2
    assert InteractiveContrastiveLearning()(by_hand).item() == pytest.approx(0.5 * (image_side + text_side))
    p = 1 / (1 + math.exp(gap))

    def divergence(match, second):
        return p * (math.log(p) - match) + (1 - p) * (math.log(1 - p) - second)

    expected = 0.5 * (
        divergence(log_sigmoid(2.0), log_sigmoid(-2.0)) + divergence(log_sigmoid(-2 * gap), log_sigmoid(2 * gap))
    )
    assert CrossKnowledgeDistillation()(by_hand).item() == pytest.approx(expected)


def test_the_loss_of_a_teacher_equal_to_the_student_is_zero():
    student = random_features()
    inputs = LossInputs(student, student.detached())
    for loss in (
        FeatureDistillation(),
        ContrastiveRelationalDistillation(),
        CrossKnowledgeDistillation(),
        GradientDistillation(),
    ):
        assert loss(inputs).item() == pytest.approx(0.0, abs=1e-14)


def test_same_label_is_diagonal_where_no_class_repeats(inputs):
    distinct = inputs._replace(student=inputs.student._replace(labels=torch.arange(6)))
    assert InfoNCE("same_label")(distinct).item() == pytest.approx(InfoNCE()(distinct).item(), rel=1e-14)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss.needs_teacher], ids=lambda loss: type(loss).__name__)
def test_a_missing_teacher_raises_an_error(loss, inputs):
    with pytest.raises(ValueError, match="a distillation loss needs a teacher, and there is none"):
        loss(inputs._replace(teacher=None))


def test_the_fusion_of_features_is_trained(inputs):
    loss = AugmentedFeatureDistillation(Width(torch.zeros(3, 5))).double()
    parameters = tuple(loss.parameters())
    assert [tuple(p.shape) for p in parameters] == [(5, 10), (5,), (5, 10), (5,)]

    def function(*values):
        names = [name for name, _ in loss.named_parameters()]
        return torch.func.functional_call(loss, dict(zip(names, values, strict=True)), (inputs,))

    assert torch.autograd.gradcheck(function, parameters)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf])
@pytest.mark.parametrize("kind", [ContrastiveRelationalDistillation, SoftCrossEntropy])
def test_impossible_temperatures_raise_errors(kind, temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number > 0"):
        kind(temperature=temperature)


def test_invalid_arguments_raise_errors(inputs):
    with pytest.raises(ValueError, match="positives must be one of diagonal, same_label, found 'all'"):
        InfoNCE("all")
    with pytest.raises(ValueError, match="label_smoothing must lie in"):
        InfoNCE(label_smoothing=1.0)
    with pytest.raises(ValueError, match="labels must not be None for positives 'same_label'"):
        InfoNCE("same_label")(inputs._replace(student=inputs.student._replace(labels=None)))
