"""Batches that are accumulated give the gradient of one large batch."""

import pytest
import torch
from torch.utils.data import Dataset

from tests.answering import QUESTIONS, conversation, tiny_llava
from tracer_lightning.data.core.loader import ResumableLoader
from tracer_lightning.data.core.sampler import EpochSampler
from tracer_lightning.data.questions.accumulation import AccumulationLoader
from tracer_lightning.data.questions.conversations import ConversationCollate
from tracer_lightning.losses import AnswerCrossEntropy, AnswerKL
from tracer_lightning.types import IGNORE_INDEX, LossInputs

SIZE, ACCUMULATED = 10, 4


class Rows(Dataset):
    """Conversations whose answers have two to four tokens."""

    def __len__(self):
        return SIZE

    def __getitem__(self, key):
        return conversation(QUESTIONS[key[1] ** 2 % 3], position=key[1], answer=IGNORE_INDEX, seed=key[1])


@pytest.fixture(scope="module")
def backbone():
    return tiny_llava()


def batches_of(backbone, size):
    return ResumableLoader(Rows(), EpochSampler(SIZE, size, 0), collate_fn=ConversationCollate(backbone.spec))


def accumulating(backbone, limit=float("inf")):
    return AccumulationLoader(batches_of(backbone, 1), ACCUMULATED, lambda: limit)


def answered(batches):
    return [int((batch.targets != IGNORE_INDEX).sum()) for batch in batches]


@pytest.mark.parametrize(("limit", "steps"), [(float("inf"), [4, 4, 2]), (6, [4, 2]), (3, [3])])
def test_every_batch_knows_the_tokens_of_its_step(backbone, limit, steps):
    batches = list(accumulating(backbone, limit))
    plain = answered(batches_of(backbone, 1))[: sum(steps)]
    assert answered(batches) == plain
    expected, rest = [], plain
    for count in steps:
        expected += [sum(rest[:count]) / ACCUMULATED] * count
        rest = rest[count:]
    assert [batch.step_tokens for batch in batches] == expected
    assert len(set(plain)) > 1


def test_a_loader_resumes_at_a_step(backbone):
    loader = accumulating(backbone)
    batches = iter(loader)
    for _ in range(ACCUMULATED):
        next(batches)
    state = loader.sampler.state_dict()
    assert state["consumed"] == ACCUMULATED
    expected = [batch.step_tokens for batch in batches]
    resumed = accumulating(backbone)
    resumed.sampler.load_state_dict(state)
    assert [batch.step_tokens for batch in resumed] == expected
    assert len(expected) == SIZE - ACCUMULATED


def gradient(model, teacher, batches, divisor):
    """Gradient of the losses of batches, each divided by a number as Lightning does."""
    model.zero_grad()
    for batch in batches:
        inputs = LossInputs(model(batch, ()), teacher(batch, ()))
        ((AnswerCrossEntropy()(inputs) + AnswerKL(2.0)(inputs)) / divisor).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


@pytest.mark.parametrize("size", [4, 2, 1])
def test_the_accumulated_gradient_is_that_of_one_batch(backbone, size):
    """The last step of an epoch may have fewer batches than the others."""
    model, teacher = (tiny_llava(seed).model.double() for seed in (1, 2))
    as_double = [
        batch._replace(inputs={**batch.inputs, "pixel_values": batch.inputs["pixel_values"].double()})
        for batch in [*accumulating(backbone, size), next(iter(batches_of(backbone, size)))]
    ]
    *accumulated, whole = as_double
    assert len(accumulated) == size
    torch.testing.assert_close(
        gradient(model, teacher, accumulated, ACCUMULATED), gradient(model, teacher, [whole], 1), rtol=1e-9, atol=1e-13
    )
