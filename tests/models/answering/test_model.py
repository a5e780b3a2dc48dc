"""The model of the family that answers questions."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F

from tests.answering import QUESTIONS, batch_of, conversation, tiny_llava, train_with_teacher
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.losses import AnswerCrossEntropy
from tracer_lightning.models import configure_compute, train_parts
from tracer_lightning.models.answering.heads import tower_head
from tracer_lightning.models.answering.model import AnsweringModel
from tracer_lightning.teachers import WMATeacher
from tracer_lightning.types import LossInputs

READS = frozenset({"logits", "targets", "tokens"})


@pytest.fixture(scope="module")
def backbone():
    return tiny_llava()


@pytest.fixture(scope="module")
def batch(backbone):
    return batch_of(backbone)


def test_the_loss_is_that_of_the_library(backbone, batch):
    labels = torch.full_like(batch.targets, -100)
    labels[:, 1:] = batch.targets[:, :-1].masked_fill(batch.targets[:, :-1] == -1, -100)
    expected = backbone.model.model(**batch.inputs, labels=labels).loss
    actual = AnswerCrossEntropy()(LossInputs(backbone.model(batch, READS)))
    torch.testing.assert_close(actual, expected)


def test_logits_are_those_of_the_answered_positions(backbone, batch):
    answers = backbone.model(batch, READS)
    everywhere = backbone.model.model(**batch.inputs, use_cache=False).logits
    torch.testing.assert_close(answers.logits, everywhere[batch.targets != -1])
    assert answers.logits.dtype == torch.float32
    assert answers.sample.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]  # each answer and its end
    assert answers.tokens == 8
    assert answers.logged() == {"answer_tokens": 8}


def test_bfloat16_weights_give_fp32_logits(backbone, batch):
    assert copy.deepcopy(backbone.model).bfloat16()(batch, READS).logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("parts", "fragments"),
    [
        (["image"], ["vision_tower"]),
        (["connector"], ["multi_modal_projector"]),
        (["text"], ["language_model", "lm_head"]),
        (["image", "text"], ["vision_tower", "language_model", "lm_head"]),
    ],
)
def test_parts_are_trained_alone(backbone, parts, fragments):
    model = copy.deepcopy(backbone.model)
    train_parts(model, parts)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == any(fragment in name for fragment in fragments), name


def test_an_unknown_layout_asks_for_its_parts():
    class Unknown(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.eye, self.lens, self.voice = (torch.nn.Linear(1, 1) for _ in range(3))

    with pytest.raises(ValueError, match="no parameter belongs to an image tower; give parts"):
        AnsweringModel(Unknown())
    model = AnsweringModel(Unknown(), {"image": ["eye"], "connector": ["lens"]})
    parts = [model.part_of(name) for name, _ in model.named_parameters()]
    assert parts == ["image"] * 2 + ["connector"] * 2 + ["text"] * 2
    with pytest.raises(ValueError, match="must have the keys image and connector, got vision"):
        AnsweringModel(Unknown(), {"vision": ["eye"]})


def test_gradient_checkpointing_changes_no_gradient(backbone, batch):
    plain, economical = copy.deepcopy(backbone.model), copy.deepcopy(backbone.model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configure_compute(economical, gradient_checkpointing=True)
    for model in (plain, economical):
        AnswerCrossEntropy()(LossInputs(model(batch, READS))).backward()
    for left, right in zip(plain.parameters(), economical.parameters(), strict=True):
        if left.grad is not None:
            torch.testing.assert_close(left.grad, right.grad)
    assert any(getattr(module, "gradient_checkpointing", False) for module in economical.modules())


def test_micro_batches_are_refused(backbone):
    with pytest.raises(ValueError, match="micro_batch must be None"):
        configure_compute(copy.deepcopy(backbone.model), micro_batch=2)


def test_a_teacher_shares_frozen_weights_and_follows(backbone, batch):
    model = copy.deepcopy(backbone.model)
    train_parts(model, ["text"])
    teacher = WMATeacher(model, BetaKernel(0.5), total_steps=2)
    tower = "model.model.vision_tower.embeddings.class_embedding"
    assert teacher.module.get_parameter(tower) is model.get_parameter(tower)
    losses = train_with_teacher(model, teacher, batch, READS, steps=2)
    assert losses[1] < losses[0]


def test_the_head_reads_the_tower_alone(backbone, batch):
    model = copy.deepcopy(backbone.model)
    model.head = tower_head(model, positions=4)
    train_parts(model, ["image", "head"])
    model.check_reads(READS)
    loss = F.cross_entropy(model(batch, READS).logits, model(batch, READS).targets)
    loss.backward()
    assert {model.part_of(n) for n, p in model.named_parameters() if p.grad is not None} == {"image", "head"}
    model.get_parameter("model.lm_head.weight").requires_grad_(True)
    with pytest.raises(ValueError, match="text can't be trained, because the head reads the image tower alone"):
        model.check_reads(READS)
    model.head = tower_head(model, positions=3)
    with pytest.raises(ValueError, match="an answer has 4 tokens, and the head predicts 3"):
        model(batch, READS)


def test_padding_answers_nothing(backbone):
    padded = batch_of(backbone, conversation(QUESTIONS[0]), conversation(QUESTIONS[1], position=-1))
    assert backbone.model(padded, READS).sample.tolist() == [0, 0]
