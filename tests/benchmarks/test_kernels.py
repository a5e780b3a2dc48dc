"""The small kernels: right, and with ``pytest -n 0 tests/benchmarks --benchmark-only`` timed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.conftest import tiny_backbone
from tracer_lightning.data.images.samples import Collate, Sample
from tracer_lightning.evaluation import ClassificationMetrics
from tracer_lightning.functional.averaging import compensated_lerp_, lerp_
from tracer_lightning.functional.similarity import kl_divergence, similarity_logits
from tracer_lightning.functional.text import trim_tokens
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.losses import (
    ContrastiveRelationalDistillation,
    CrossKnowledgeDistillation,
    FeatureDistillation,
    InteractiveContrastiveLearning,
)
from tracer_lightning.types import ClipFeatures, LossInputs

BATCH, WIDTH = 256, 512
"""Batch size, and feature width of ViT-B."""


def features(seed):
    generator = torch.Generator().manual_seed(seed)
    image, text = F.normalize(torch.randn(2, BATCH, WIDTH, generator=generator), dim=-1)
    return ClipFeatures(image, text, torch.tensor(100.0))


def weights(seed, shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_lerp(benchmark):
    shapes = [(3 * WIDTH, WIDTH), (4 * WIDTH, WIDTH)] * 2
    averages, values = weights(0, shapes), weights(1, shapes)
    start = [average.clone() for average in averages]
    benchmark.pedantic(
        lerp_,
        setup=lambda: (([average.copy_(old) for average, old in zip(averages, start, strict=True)], values, 0.25), {}),
        rounds=20,
    )
    torch.testing.assert_close(averages, [0.75 * old + 0.25 * new for old, new in zip(start, values, strict=True)])


def test_compensated_lerp(benchmark):
    shapes = [(WIDTH,)] * 200
    averages, values = [torch.full(shape, 1000.0) for shape in shapes], weights(1, shapes)
    lost = [torch.zeros(shape) for shape in shapes]
    result = benchmark.pedantic(compensated_lerp_, (averages, lost, values, 1e-9), rounds=20, iterations=1)
    assert result is None
    moved = averages[0].double() - lost[0].double()  # what rounding took away is remembered
    steps = round(((moved - 1000) / (1e-9 * (values[0].double() - 1000))).mean().item())
    assert steps in (1, 20)  # run once in the suite
    torch.testing.assert_close(moved, 1000 + steps * 1e-9 * (values[0].double() - 1000), rtol=0, atol=1e-10)
    assert (averages[0] == 1000).all()  # the plain average would stand still


def test_kl_divergence(benchmark):
    teacher, student = weights(0, [(BATCH, BATCH)] * 2)
    result = benchmark(kl_divergence, teacher, student)
    p, q = teacher.double().softmax(-1), student.double().softmax(-1)
    assert result.item() == pytest.approx((p * (p / q).log()).sum(-1).mean().item(), rel=1e-5)


def test_similarity(benchmark):
    image, text, scale = features(0)[:3]
    result = benchmark(similarity_logits, image, text, scale)
    assert result[3, 5].item() == pytest.approx(100 * (image[3].double() @ text[5].double()).item(), abs=1e-3)


def cross_entropy(logits):
    return F.cross_entropy(logits, torch.arange(BATCH))


def divergence(teacher, student):
    return (teacher.softmax(-1) * (teacher.log_softmax(-1) - student.log_softmax(-1))).sum(-1).mean()


def expected(student, teacher):
    """Compute each loss in double precision by its definition."""
    (i, t, s), (it, tt, st) = ((value.double() for value in each[:3]) for each in (student, teacher))
    return {
        FeatureDistillation: ((it - i) ** 2).sum(1).mean() + ((tt - t) ** 2).sum(1).mean(),
        ContrastiveRelationalDistillation: divergence(st * it @ tt.T, s * i @ t.T)
        + divergence(st * tt @ it.T, s * t @ i.T),
        InteractiveContrastiveLearning: (cross_entropy(s * i @ tt.T) + cross_entropy(s * t @ it.T)) / 2,
        CrossKnowledgeDistillation: (
            divergence(st * it @ tt.T, s * i @ tt.T) + divergence(st * tt @ it.T, s * t @ it.T)
        )
        / 2,
    }


@pytest.mark.parametrize(
    "term",
    [
        FeatureDistillation,
        ContrastiveRelationalDistillation,
        InteractiveContrastiveLearning,
        CrossKnowledgeDistillation,
    ],
)
def test_terms(benchmark, term):
    student, teacher = features(0), features(1)
    result = benchmark(term(), LossInputs(student, teacher))
    assert result.item() == pytest.approx(expected(student, teacher)[term].item(), rel=1e-4)


def test_trim_tokens(benchmark):
    tokens = torch.zeros(BATCH, 77, dtype=torch.long)
    tokens[:, 0], tokens[:, 9] = 49406, 49407
    tokens[7, 9:13] = torch.tensor([1, 2, 3, 49407])
    result = benchmark(trim_tokens, tokens)
    assert torch.equal(result, tokens[:, :16])


def test_zero_shot_head(benchmark):
    backbone = tiny_backbone()
    prompts = backbone.spec.tokenize([f"{kind} {name}." for name in "abcdefgh" for kind in ("a", "the")])
    result = benchmark(zero_shot_head, backbone.model.encode_text, prompts.reshape(8, 2, -1))
    with torch.no_grad():
        rows = backbone.model.encode_text(prompts[4:6])  # class c
    torch.testing.assert_close(result[2], F.normalize(rows.sum(0), dim=0))


def test_collate(benchmark):
    rng = np.random.default_rng(0)
    text = torch.zeros(77, dtype=torch.long)
    text[0], text[6] = 49406, 49407
    samples = [
        Sample(torch.full((3, 224, 224), int(rng.integers(256)), dtype=torch.uint8), text, number, number)
        for number in range(32)
    ]
    batch = benchmark(Collate(trims_text=True), samples)
    assert batch.texts.shape == (4, 8)  # all captions are the same
    assert batch.text_of.tolist() == [0] * 32
    assert batch.labels.tolist() == list(range(32))
    assert torch.equal(batch.images[5], samples[5].image)


def test_counting(benchmark):
    logits, labels = weights(0, [(BATCH, 1000)])[0], torch.arange(BATCH)
    logits[: BATCH // 2, : BATCH // 2] += 100 * torch.eye(BATCH // 2)
    metrics = ClassificationMetrics(1000)
    benchmark(metrics.update, logits, labels)
    assert metrics.compute()[0]["accuracy"] == pytest.approx(0.5, abs=0.02)
