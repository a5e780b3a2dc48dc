"""Losses of answers, by naive references."""

import pytest
import torch

from tracer_lightning.losses import AnswerCrossEntropy, AnswerKL, FeatureDistillation, WeightedSum
from tracer_lightning.types import AnswerLogits, ClipFeatures, LossInputs


def answers(tokens=5, vocabulary=7, seed=0, count=None):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(tokens, vocabulary, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    return AnswerLogits(logits, targets, torch.arange(tokens), torch.tensor(float(count or tokens)))


def test_cross_entropy_is_the_mean_over_tokens():
    student = answers()
    expected = sum(-student.logits[i].softmax(0)[t].log() for i, t in enumerate(student.targets)) / 5
    torch.testing.assert_close(AnswerCrossEntropy()(LossInputs(student)), expected)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_divergence_of_teacher_and_student(temperature):
    student, teacher = answers(), answers(seed=1)
    p, q = ((a.logits / temperature).softmax(1) for a in (teacher, student))
    expected = temperature**2 * (p * (p / q).log()).sum() / 5
    torch.testing.assert_close(AnswerKL(temperature)(LossInputs(student, teacher)), expected)


def test_equal_models_have_no_divergence_and_the_teacher_no_gradient():
    student, teacher = answers(), answers(seed=1)
    assert AnswerKL()(LossInputs(student, answers())).abs() < 1e-12
    AnswerKL()(LossInputs(student, teacher)).backward()
    assert student.logits.grad.abs().sum() > 0
    assert teacher.logits.grad is None


def test_gradients():
    student, teacher = answers(), answers(seed=1)

    def loss(logits):
        inputs = LossInputs(student._replace(logits=logits), teacher)
        return AnswerCrossEntropy()(inputs) + AnswerKL(2.0)(inputs)

    assert torch.autograd.gradcheck(loss, student.logits)


def test_the_mean_over_ranks_is_that_over_the_tokens_of_the_global_batch():
    """Two ranks with 2 and 4 tokens, whose mean number is 3."""
    whole, teacher = answers(tokens=6), answers(tokens=6, seed=1)
    ranks = [slice(0, 2), slice(2, 6)]
    for loss in (AnswerCrossEntropy(), AnswerKL()):
        parts = [
            loss(LossInputs(*(AnswerLogits(*(v[rank] for v in a[:3]), torch.tensor(3.0)) for a in (whole, teacher))))
            for rank in ranks
        ]
        torch.testing.assert_close(sum(parts) / 2, loss(LossInputs(whole, teacher)))


def test_terms_of_the_other_family_are_refused():
    clip = WeightedSum({"fd": FeatureDistillation()}, {"fd": 1.0})
    with pytest.raises(ValueError, match=r"fd \(FeatureDistillation\) reads ClipFeatures, and the model gives AnswerL"):
        clip.check_features(AnswerLogits)
    ours = WeightedSum({"answer_kl": AnswerKL()}, {"answer_kl": 1.0})
    with pytest.raises(ValueError, match=r"answer_kl \(AnswerKL\) reads AnswerLogits, and the model gives ClipFeat"):
        ours.check_features(ClipFeatures)


def test_the_temperature_is_positive():
    with pytest.raises(ValueError, match="temperature"):
        AnswerKL(0.0)
