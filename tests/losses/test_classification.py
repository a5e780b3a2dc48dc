"""Cross-entropy of a head and distillation over anchors: by hand, by naive loops, by numerical gradients."""

import math
from typing import NamedTuple

import pytest
import torch

from tests.losses.test_terms import kl, rows
from tracer_lightning.losses import (
    AnchorDivergence,
    AnchorMatching,
    CrossEntropy,
    FeatureDistillation,
    HeadDivergence,
    InfoNCE,
    LossTerm,
    WeightedSum,
)
from tracer_lightning.types import ClipFeatures, LossInputs

LOSSES = [
    CrossEntropy(),
    CrossEntropy(0.2),
    HeadDivergence(0.5),
    AnchorDivergence(),
    AnchorDivergence(reverse=True),
    AnchorMatching(),
]
ANCHORED = [loss for loss in LOSSES if loss.needs_anchors]


@pytest.fixture
def complete_inputs(inputs):
    """Features, logits of three classes, and four anchors."""
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(6, 3, generator=generator, dtype=torch.double).requires_grad_()
    anchors = torch.nn.functional.normalize(torch.randn(4, 5, generator=generator, dtype=torch.double), dim=-1)
    teacher = inputs.teacher._replace(logits=torch.randn(6, 3, generator=generator, dtype=torch.double))
    return LossInputs(inputs.student._replace(logits=logits), teacher, anchors)


def looped_cross_entropy(inputs, smoothing):
    total = 0.0
    for row, label in zip(inputs.student.logits.tolist(), inputs.student.labels.tolist(), strict=True):
        norm = math.log(sum(math.exp(value) for value in row))
        target = [smoothing / len(row) + (1 - smoothing) * (k == label) for k in range(len(row))]
        total -= sum(t * (value - norm) for t, value in zip(target, row, strict=True))
    return total / len(inputs.student.labels)


def softmax(row):
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def looped_matching(inputs):
    total, scale = 0.0, float(inputs.teacher.logit_scale)
    pairs = zip(inputs.student.image.tolist(), inputs.teacher.image.tolist(), strict=True)
    for student, teacher in pairs:
        for anchor in inputs.anchors.tolist():
            difference = sum(a * (s - t) for a, s, t in zip(anchor, student, teacher, strict=True))
            total += (scale * difference) ** 2
    return total / (2 * len(inputs.anchors) * len(inputs.student.image))


def naive(loss, inputs):
    if isinstance(loss, CrossEntropy):
        return looped_cross_entropy(inputs, loss.label_smoothing)
    if isinstance(loss, HeadDivergence):
        tables = ([[z / 0.5 for z in row] for row in part.logits.tolist()] for part in (inputs.student, inputs.teacher))
        student, teacher = ([softmax(row) for row in table] for table in tables)
        return 0.25 * kl(teacher, student)
    if isinstance(loss, AnchorMatching):
        return looped_matching(inputs)
    student, teacher = (
        rows(features.image, inputs.anchors, features.logit_scale) for features in (inputs.student, inputs.teacher)
    )
    return kl(student, teacher) if loss.reverse else kl(teacher, student)


@pytest.mark.parametrize("loss", LOSSES)
def test_against_loops(loss, complete_inputs):
    assert loss(complete_inputs).item() == pytest.approx(naive(loss, complete_inputs), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss, complete_inputs):
    def of(image, scale, logits):
        student = ClipFeatures(image, complete_inputs.student.text, scale, complete_inputs.student.labels, logits)
        return loss(complete_inputs._replace(student=student))

    values = [complete_inputs.student.image, complete_inputs.student.logit_scale, complete_inputs.student.logits]
    values = [value.detach().clone().requires_grad_() for value in values]
    assert torch.autograd.gradcheck(of, values)


def test_by_hand():
    """One image at 60 degrees from the teacher's, which is the first of two anchors at right angles."""
    turned = torch.tensor([[0.5, math.sqrt(3) / 2]])
    anchors, straight = torch.eye(2), torch.tensor([[1.0, 0.0]])
    teacher = ClipFeatures(straight, straight, torch.tensor(2.0))
    student = ClipFeatures(turned, turned, torch.tensor(10.0))
    labels, logits = torch.tensor([1]), torch.tensor([[math.log(3.0), 0.0]])
    inputs = LossInputs(student._replace(labels=labels, logits=logits), teacher, anchors)
    assert CrossEntropy()(inputs).item() == pytest.approx(math.log(4.0))
    squares = (2 * 0.5) ** 2 + (2 * math.sqrt(3) / 2) ** 2  # with the teacher's scale
    assert AnchorMatching()(inputs).item() == pytest.approx(squares / 4)
    p, q = (1 / (1 + math.exp(-gap)) for gap in (2.0, 10 * (0.5 - math.sqrt(3) / 2)))  # of the first anchor

    def divergence(first, second):
        return first * math.log(first / second) + (1 - first) * math.log((1 - first) / (1 - second))

    assert AnchorDivergence()(inputs).item() == pytest.approx(divergence(p, q), rel=1e-5)
    assert AnchorDivergence(reverse=True)(inputs).item() == pytest.approx(divergence(q, p), rel=1e-5)


def replaced(inputs, **fields):
    """Inputs with other fields of the student's features."""
    return inputs._replace(student=inputs.student._replace(**fields))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_samples_without_a_class_do_not_count(complete_inputs, smoothing):
    loss = CrossEntropy(smoothing)
    labels, logits = torch.tensor([0, -1, 0, 2, -1, 0]), complete_inputs.student.logits
    expected = loss(replaced(complete_inputs, logits=logits[labels >= 0], labels=labels[labels >= 0]))
    assert loss(replaced(complete_inputs, labels=labels)).item() == pytest.approx(expected.item(), rel=1e-12)
    none = loss(replaced(complete_inputs, labels=torch.full((6,), -1)))
    assert none.item() == 0.0
    none.backward()
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", ANCHORED)
def test_the_loss_of_equal_models_is_zero(loss, complete_inputs):
    same = complete_inputs._replace(teacher=complete_inputs.student.detached())
    assert loss(same).item() == pytest.approx(0.0, abs=1e-14)


def test_matching_does_not_train_the_scale(complete_inputs):
    (gradient,) = torch.autograd.grad(
        AnchorMatching()(complete_inputs), complete_inputs.student.logit_scale, allow_unused=True
    )
    assert gradient is None


@pytest.mark.parametrize("loss", ANCHORED)
def test_missing_inputs_raise_errors(loss, complete_inputs):
    with pytest.raises(ValueError, match="compares images with anchor texts, and there are none"):
        loss(complete_inputs._replace(anchors=None))
    with pytest.raises(ValueError, match="a distillation loss needs a teacher, and there is none"):
        loss(complete_inputs._replace(teacher=None))


def test_cross_entropy_without_head_or_labels_raises_an_error(complete_inputs):
    for missing in ("logits", "labels"):
        with pytest.raises(ValueError, match="cross-entropy needs logits of a head, and labels"):
            CrossEntropy()(replaced(complete_inputs, **{missing: None}))
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\), found 1.0"):
        CrossEntropy(1.0)


# -- what sums read ----------------------------------------------------------------------------------------------------


def weighted(zero=(), **terms):
    return WeightedSum(terms, {name: 0.0 if name in zero else 1.0 for name in terms})


def test_a_sum_reads_what_its_terms_read():
    assert weighted(ce=CrossEntropy()).reads == {"logits", "labels"}
    assert weighted(nce=InfoNCE()).reads == {"image", "text", "logit_scale"}
    assert weighted(nce=InfoNCE("same_label")).reads == {"image", "text", "logit_scale", "labels"}
    both = weighted(ce=CrossEntropy(), fd=FeatureDistillation())
    assert both.reads == {"logits", "labels", "image", "text"}
    assert both.with_teacher == ("fd",)
    anchored = weighted(ce=CrossEntropy(), kl=AnchorDivergence(), mse=AnchorMatching())
    assert anchored.with_anchors == anchored.with_teacher == ("kl", "mse")
    assert "logit_scale" not in weighted(ce=CrossEntropy(), mse=AnchorMatching()).reads
    assert weighted().reads == set()


def test_terms_of_weight_zero_need_no_inputs():
    loss = weighted(zero=("kl", "nce"), ce=CrossEntropy(), kl=AnchorDivergence(), nce=InfoNCE())
    assert loss.reads == {"logits", "labels"}
    assert loss.with_anchors == loss.with_teacher == ()


class OtherFeatures(NamedTuple):
    """Features of another family of models."""

    prediction: torch.Tensor


class OtherTerm(LossTerm):
    features = OtherFeatures
    reads = frozenset({"prediction"})

    def forward(self, inputs):
        return inputs.student.prediction.mean()


def test_terms_of_another_family_raise_errors():
    loss = weighted(mine=OtherTerm())
    loss.check_features(OtherFeatures)
    with pytest.raises(ValueError, match=r"mine \(OtherTerm\) reads OtherFeatures, and the model gives ClipFeatures"):
        loss.check_features(ClipFeatures)
    with pytest.raises(ValueError, match=r"ce \(CrossEntropy\) reads ClipFeatures, and the model gives OtherFeatures"):
        weighted(ce=CrossEntropy()).check_features(OtherFeatures)


def test_a_missing_field_of_the_features_raises_an_error():
    class Typo(OtherTerm):
        reads = frozenset({"predictions"})

    with pytest.raises(ValueError, match="mine reads predictions, which OtherFeatures lacks"):
        weighted(mine=Typo()).check_features(OtherFeatures)


def test_an_anchored_sum_equals_the_sum_of_its_terms(complete_inputs):
    total, terms = weighted(ce=CrossEntropy(), kl=AnchorDivergence(), mse=AnchorMatching())(complete_inputs)
    assert total.item() == pytest.approx(sum(value.item() for value in terms.values()))
