import math

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassStatScores

from tracer_lightning.evaluation import ClassificationMetrics
from tracer_lightning.evaluation.counts import ClassCounts
from tracer_lightning.evaluation.neighbours import NeighbourAccuracy
from tracer_lightning.evaluation.temperature import Logits
from tracer_lightning.types import Neighbours


@pytest.mark.parametrize("classes", [2, 4, 30])
def test_counts_are_those_of_torchmetrics(classes):
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(300, classes, generator=generator).softmax(dim=-1)
    labels = torch.randint(-1, classes, (300,), generator=generator)
    ours = ClassCounts(classes, 5)
    scores = MulticlassStatScores(classes, average=None, ignore_index=-1)
    top = MulticlassAccuracy(classes, top_k=min(5, classes), average="micro", ignore_index=-1)
    for part in range(0, 300, 100):
        for metric in (ours, scores, top):
            metric.update(probabilities[part : part + 100], labels[part : part + 100])
    right, wrong, _, missed, support = scores.compute().unbind(dim=-1)
    by_class, hits = ours.compute()
    torch.testing.assert_close(by_class, torch.stack([support, right + wrong, right]))
    torch.testing.assert_close(support - right, missed)
    assert hits / int(support.sum()) == pytest.approx(top.compute().item(), abs=1e-7)


def test_batches_of_padding_are_not_counted():
    metrics = ClassificationMetrics(3)
    metrics.update(torch.randn(4, 3), torch.full((4,), -1))
    scores, details = metrics.compute()
    assert scores == {"n": 0, "accuracy": None, "accuracy_top5": None, "ece": None, "macro_f1": None}
    assert details["classes"] == {"n": [0, 0, 0], "correct": [0, 0, 0]}


def test_predictions_that_are_no_numbers_are_wrong():
    metrics = ClassificationMetrics(3, ece_per_batch=True)
    metrics.update(torch.full((4, 3), torch.nan), torch.tensor([0, 0, 1, -1]))
    scores, _ = metrics.compute()
    assert (scores["n"], scores["accuracy"], scores["accuracy_top5"], scores["macro_f1"]) == (3, 0.0, 0.0, 0.0)
    assert math.isnan(scores["ece"])
    assert math.isnan(scores["ece_per_batch"])
    frames = NeighbourAccuracy(Neighbours(((0,), (0,)), ((0, 1),)))
    frames.update(torch.full((2, 3), torch.nan), torch.arange(2))
    assert frames.compute() == 0.0


def test_a_set_of_one_class_has_lists_of_one():
    metrics = ClassificationMetrics(1)
    metrics.update(torch.zeros(3, 1), torch.zeros(3, dtype=torch.long))
    assert metrics.compute()[1]["classes"] == {"n": [3], "correct": [3]}


@pytest.mark.parametrize(("metric", "read"), [(ClassificationMetrics(3), "compute"), (Logits(), "counted")])
def test_a_batch_is_taken_in_without_its_values(metric, read):
    """On a device a value that the host asks for is a wait; the meta device has none to give."""
    metric.to("meta")
    metric.update(torch.zeros(4, 3, device="meta"), torch.zeros(4, dtype=torch.long, device="meta"))
    with pytest.raises((RuntimeError, NotImplementedError), match=r"[Mm]eta"):
        getattr(metric, read)()
