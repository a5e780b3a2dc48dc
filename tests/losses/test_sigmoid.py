"""SigLIP's loss, and distillation of the sigmoids of pairs."""

import math
from functools import partial
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist
from open_clip.loss import SigLipLoss
from torch import nn
from torch.nn.functional import logsigmoid
from torch.nn.parallel import DistributedDataParallel

from tests.conftest import random_features
from tests.ranks import run_ranks
from tracer_lightning.functional.distributed import gather
from tracer_lightning.losses import (
    AugmentedFeatureDistillation,
    ContrastiveRelationalDistillation,
    CrossKnowledgeDistillation,
    GradientDistillation,
    InteractiveContrastiveLearning,
    SigmoidLoss,
    SoftCrossEntropy,
)
from tracer_lightning.types import ClipFeatures, LossInputs


class Width(NamedTuple):
    """A model of features as wide as the fixture's."""

    text_projection: torch.Tensor


torch.manual_seed(0)
DISTILLATION = [
    ContrastiveRelationalDistillation(matching="sigmoid"),
    ContrastiveRelationalDistillation(halved=True, temperature=0.5, matching="sigmoid"),
    CrossKnowledgeDistillation(matching="sigmoid"),
    InteractiveContrastiveLearning(matching="sigmoid"),
    InteractiveContrastiveLearning("same_label", matching="sigmoid"),
    SoftCrossEntropy(matching="sigmoid"),
    SoftCrossEntropy(temperature=2.0, matching="sigmoid"),
    GradientDistillation(matching="sigmoid"),
    AugmentedFeatureDistillation(Width(torch.zeros(3, 5)), matching="sigmoid").double(),
]
LOSSES = [SigmoidLoss(), SigmoidLoss("same_label"), *DISTILLATION]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)


def with_bias(features, bias):
    return features._replace(logit_bias=torch.tensor(bias, dtype=torch.double, requires_grad=True))


@pytest.fixture
def inputs():
    """Features of student and teacher, each with a scale and a bias of its own, where classes repeat."""
    student = with_bias(random_features(), -2.0)._replace(labels=torch.tensor([0, 1, 0, 2, 1, -1]))
    return LossInputs(student, with_bias(random_features(seed=1, scale=3.0), -1.0).detached())


def probabilities(images, texts, model, temperature=1.0):
    """Sigmoids of all pairs, by explicit loops."""
    scale, bias = model.logit_scale.item(), model.logit_bias.item()
    logits = [
        [scale * sum(a * b for a, b in zip(i, t, strict=True)) + bias for t in texts.tolist()] for i in images.tolist()
    ]
    return [[1 / (1 + math.exp(-logit / temperature)) for logit in row] for row in logits]


def mean_of_rows(first, second, value):
    """Sum over the pairs of a row of a value of two probabilities, mean over rows."""
    rows = zip(first, second, strict=True)
    return math.fsum(value(p, q) for row in rows for p, q in zip(*row, strict=True)) / len(first)


def entropy(p, q):
    return -p * math.log(q) - (1 - p) * math.log(1 - q)


def targets(labels, positives):
    """1 for pairs that match, else 0."""
    labels = [place if positives == "diagonal" or label == -1 else (label,) for place, label in enumerate(labels)]
    return [[float(first == second) for second in labels] for first in labels]


def naive(loss, inputs):
    s, t = inputs.student, inputs.teacher
    labels = s.labels.tolist()
    divergence = partial(mean_of_rows, value=lambda p, q: entropy(p, q) - entropy(p, p))
    match loss:
        case SigmoidLoss():
            return mean_of_rows(targets(labels, loss.positives), probabilities(s.image, s.text, s), entropy)
        case ContrastiveRelationalDistillation():
            teacher = probabilities(t.image, t.text, t, loss.temperature)
            return (1 if loss.halved else 2) * divergence(teacher, probabilities(s.image, s.text, s))
        case CrossKnowledgeDistillation():
            image = divergence(probabilities(t.image, t.text, t), probabilities(s.image, t.text, s))
            return 0.5 * (image + divergence(probabilities(t.text, t.image, t), probabilities(s.text, t.image, s)))
        case InteractiveContrastiveLearning():
            pairs = ((s.image, t.text), (s.text, t.image))
            losses = [mean_of_rows(targets(labels, loss.positives), probabilities(*pair, s), entropy) for pair in pairs]
            return 0.5 * sum(losses)
        case SoftCrossEntropy():
            teacher = probabilities(t.image, t.text, t, loss.temperature)
            return 2 * mean_of_rows(teacher, probabilities(s.image, s.text, s), entropy)
        case GradientDistillation():
            pairs = zip(*(sigmoid_gradients(model) for model in (s, t)), strict=True)
            return sum(((first - second) ** 2).mean().item() for first, second in pairs)
        case AugmentedFeatureDistillation():
            image = loss.image_fusion(torch.cat([s.image, t.image], dim=1))
            text = loss.text_fusion(torch.cat([s.text, t.text], dim=1))
            return mean_of_rows(targets(labels, "diagonal"), probabilities(image, text, s), entropy)


def sigmoid_gradients(model):
    """Gradients of the sigmoid loss with respect to image and text features, by autograd."""
    image, text = (value.detach().requires_grad_() for value in model[:2])
    return torch.autograd.grad(SigmoidLoss()(LossInputs(model._replace(image=image, text=text))), (image, text))


@each_loss
def test_equals_a_naive_loop(loss, inputs):
    assert loss(inputs).item() == pytest.approx(naive(loss, inputs), rel=1e-12)


@each_loss
def test_gradients(loss, inputs):
    def function(image, text, scale, bias):
        student = ClipFeatures(image, text, scale, inputs.student.labels, logit_bias=bias)
        return loss(LossInputs(student, inputs.teacher))

    student = inputs.student
    assert torch.autograd.gradcheck(function, (student.image, student.text, student.logit_scale, student.logit_bias))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.double, 1e-14), (torch.float, 1e-6)])
def test_the_task_loss_is_that_of_open_clip(dtype, tolerance):
    features = with_bias(random_features(batch=16, width=8), -3.0)
    tensors = [value.detach().to(dtype).requires_grad_() for value in (*features[:3], features.logit_bias)]
    ours = SigmoidLoss()(LossInputs(ClipFeatures(*tensors[:3], logit_bias=tensors[3])))
    theirs = SigLipLoss()(*tensors)
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    gradients = (torch.autograd.grad(loss, tensors) for loss in (ours, theirs))
    for our_gradient, their_gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(our_gradient, their_gradient, rtol=tolerance, atol=tolerance)


def test_the_task_loss_by_hand():
    """Two orthogonal pairs at scale 2 and bias -1: logits 1 for pairs that match, -1 for others."""
    eye = torch.eye(2)
    student = ClipFeatures(eye, eye, torch.tensor(2.0), torch.tensor([0, 0]), logit_bias=torch.tensor(-1.0))
    certain, wrong = logsigmoid(torch.tensor(1.0)), logsigmoid(torch.tensor(-1.0))
    torch.testing.assert_close(SigmoidLoss()(LossInputs(student)), -2 * certain)
    torch.testing.assert_close(SigmoidLoss("same_label")(LossInputs(student)), -certain - wrong)


@pytest.mark.parametrize("kind", [ContrastiveRelationalDistillation, CrossKnowledgeDistillation, GradientDistillation])
def test_the_loss_of_a_teacher_equal_to_the_student_is_zero(kind, inputs):
    same = LossInputs(inputs.student, inputs.student.detached())
    assert kind(matching="sigmoid")(same).item() == pytest.approx(0.0, abs=1e-14)


def test_terms_of_the_softmax_do_not_depend_on_the_bias(inputs):
    for kind in (ContrastiveRelationalDistillation, CrossKnowledgeDistillation, SoftCrossEntropy, GradientDistillation):
        without = LossInputs(*(model._replace(logit_bias=None) for model in inputs[:2]))
        assert torch.equal(kind()(inputs), kind()(without))
        assert not torch.equal(kind(matching="sigmoid")(inputs), kind(matching="sigmoid")(without))


def test_an_unknown_matching_raises_an_error():
    with pytest.raises(ValueError, match="matching must be one of softmax, sigmoid, found 'hinge'"):
        CrossKnowledgeDistillation(matching="hinge")


class Towers(nn.Module):
    """Linear towers with a scale and a bias, which gather the features of all ranks."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.image, self.text = (nn.Parameter(torch.randn(6, 4, generator=generator).double()) for _ in range(2))
        self.logit_scale, self.logit_bias = (nn.Parameter(torch.tensor(value).double()) for value in (5.0, -2.0))

    def forward(self, images, texts):
        image, text = (
            gather(nn.functional.normalize(inputs @ tower, dim=-1))
            for inputs, tower in ((images, self.image), (texts, self.text))
        )
        return ClipFeatures(image, text, self.logit_scale, logit_bias=self.logit_bias)


def inputs_of_towers():
    return torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(1)).double()


def gradients(model, towers, images, texts):
    image, text = (gather(half[:, :4]) for half in (images, texts))
    teacher = ClipFeatures(image, text, towers.logit_scale, logit_bias=towers.logit_bias)
    inputs = LossInputs(model(images, texts), teacher.detached())
    (SigmoidLoss()(inputs) + CrossKnowledgeDistillation(matching="sigmoid")(inputs)).backward()
    return {name: parameter.grad for name, parameter in towers.named_parameters()}


def worker(rank, rendezvous, result, ranks):
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=ranks)
    torch.set_num_threads(1)
    towers, samples = Towers(), 8 // ranks
    part = inputs_of_towers()[:, rank * samples : (rank + 1) * samples]
    of_rank = gradients(DistributedDataParallel(towers), towers, *part)
    if rank == 0:
        torch.save(of_rank, result)
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_gradients_of_several_ranks_are_those_of_one_process(tmp_path, ranks):
    run_ranks(worker, (tmp_path / "rendezvous", tmp_path / "gradients.pt", ranks), ranks)
    distributed = torch.load(tmp_path / "gradients.pt", weights_only=True)
    towers = Towers()
    for name, expected in gradients(towers, towers, *inputs_of_towers()).items():
        torch.testing.assert_close(distributed[name], expected, rtol=1e-12, atol=1e-14)
