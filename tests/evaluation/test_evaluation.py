import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from sklearn.metrics import f1_score

from tests.conftest import tiny_backbone
from tracer_lightning.evaluation import ClassificationMetrics, ClassificationSuite, results_table
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.scores import AVERAGE, AVERAGE_OTHER, CLASSIFICATION, Metric
from tracer_lightning.types import Batch, ClassTexts, EvalSet

SETS = [EvalSet("a", "test", "id"), EvalSet("b", "test", "ood"), EvalSet("c", "test", "ood")]


def test_head_is_the_renormalised_mean_of_normalised_templates(backbone):
    prompts = backbone.spec.tokenize(["one", "a one.", "two", "a two."]).reshape(2, 2, -1)
    head = zero_shot_head(backbone.model.encode_text, prompts)
    assert head.shape == (2, 16)
    assert not head.requires_grad
    features = backbone.model.model.encode_text(prompts[1])
    expected = F.normalize(F.normalize(features, dim=-1).mean(0), dim=0)
    torch.testing.assert_close(head[1], expected)


def test_metrics_against_naive_ones():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(400, 4, generator=generator)
    labels = torch.randint(0, 4, (400,), generator=generator)
    metrics = ClassificationMetrics(4)
    for part in range(0, 400, 100):
        padded = torch.cat([labels[part : part + 100], torch.full((3,), -1)])
        metrics.update(torch.cat([logits[part : part + 100], torch.zeros(3, 4)]), padded)
    scores, details = metrics.compute()
    probabilities = logits.softmax(-1).numpy()
    predictions, confidence = probabilities.argmax(1), probabilities.max(1)
    correct = predictions == labels.numpy()
    ece = 0.0
    for low in np.arange(0, 1, 0.1):
        inside = (confidence > low) & (confidence <= low + 0.1)
        if inside.any():
            ece += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert scores["n"] == 400
    assert scores["accuracy"] == pytest.approx(correct.mean(), abs=1e-6)
    assert scores["ece"] == pytest.approx(ece, abs=1e-5)
    assert scores["macro_f1"] == pytest.approx(f1_score(labels, predictions, average="macro"), abs=1e-6)
    assert details["classes"]["n"] == np.bincount(labels, minlength=4).tolist()
    assert details["classes"]["correct"] == np.bincount(labels[torch.from_numpy(correct)], minlength=4).tolist()
    assert sum(details["bins"]["n"]) == 400
    assert sum(details["bins"]["correct"]) == correct.sum()
    assert sum(details["bins"]["confidence"]) == pytest.approx(confidence.sum(), rel=1e-6)


def test_top_five_against_a_naive_one():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(300, 20, generator=generator), torch.randint(0, 20, (300,), generator=generator)
    metrics = ClassificationMetrics(20)
    metrics.update(torch.cat([logits, torch.zeros(5, 20)]), torch.cat([labels, torch.full((5,), -1)]))
    expected = (logits.argsort(dim=1, descending=True)[:, :5] == labels[:, None]).any(dim=1).double().mean()
    assert metrics.compute()[0]["accuracy_top5"] == pytest.approx(expected.item(), abs=1e-6)


def test_macro_f1_is_that_of_wilds():
    """Classes without samples do not count, however often they are predicted."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 20, (300,), generator=generator)
    logits = torch.randn(300, 50, generator=generator)
    logits[torch.arange(300), labels] += 3.0
    metrics = ClassificationMetrics(50)
    metrics.update(logits, labels)
    present = torch.unique(labels).tolist()
    expected = f1_score(labels, logits.argmax(1), average="macro", labels=present)
    assert metrics.compute()[0]["macro_f1"] == pytest.approx(expected, abs=1e-12)
    assert expected > 1.5 * f1_score(labels, logits.argmax(1), average="macro")


def suite_results(backbone, models=("student",)):
    prompts = backbone.spec.tokenize([f"a {n}." for n in ("one", "two", "three")]).reshape(3, 1, -1)
    suite = ClassificationSuite(SETS, prompts, models)
    suite.start(dict.fromkeys(models, backbone.model))
    for index in range(3):
        images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(index))
        labels = torch.tensor([0, 1, 2, 0, 1, 2, -1, -1])
        suite.update(Batch(images, torch.zeros(8, 0, dtype=torch.long), labels, torch.arange(8)), index)
    return suite, suite.finish()


def test_suite_reports_roles_and_the_ood_average(backbone):
    suite, results = suite_results(backbone)
    scores = results["student"]
    assert list(scores) == ["a", "b", "c", AVERAGE]
    assert set(scores["a"]) == {"split", "role", "n", "accuracy", "accuracy_top5", "ece", "macro_f1"}
    assert scores["a"]["n"] == 6
    assert scores[AVERAGE]["sets"] == ["b", "c"]
    for metric in ("accuracy", "accuracy_top5", "ece", "macro_f1"):
        assert scores[AVERAGE][metric] == pytest.approx((scores["b"][metric] + scores["c"][metric]) / 2)
    assert not suite.state_dict()


def test_evaluating_again_forgets_the_first_time(backbone):
    suite, first = suite_results(backbone)
    suite.start({"student": backbone.model})
    suite.update(Batch(torch.zeros(1, 3, 32, 32), torch.zeros(1, 0).long(), torch.zeros(1).long(), torch.zeros(1)), 0)
    for index in (1, 2):
        suite.update(
            Batch(torch.zeros(1, 3, 32, 32), torch.zeros(1, 0).long(), torch.zeros(1).long(), torch.zeros(1)), index
        )
    assert suite.finish()["student"]["a"]["n"] == 1
    assert first["student"]["a"]["n"] == 6


def test_table_shows_every_set_and_model(backbone):
    _, results = suite_results(backbone, ("student", "teacher"))
    text = io.StringIO()
    table = results_table("demo", {"zero_shot": results["student"], **results, "none": None})
    Console(file=text, width=160).print(table)
    for word in ("demo", "zero-shot", "student", "teacher", "mean", "ECE"):
        assert word in text.getvalue()


def test_scores_that_are_no_numbers_are_a_dash():
    values = {"role": "id", "n": 3, "accuracy": 0.0, "ece": float("nan"), "rmse": float("inf")}
    metrics = (*CLASSIFICATION, Metric("rmse", "RMSE", "RMSE", "lower", percent=False))
    text = io.StringIO()
    Console(file=text, width=160).print(results_table("demo", {"student": {"mine": values}}, metrics=metrics))
    (row,) = (line.split() for line in text.getvalue().splitlines() if "mine" in line)
    assert row == ["mine", "id", "3", "0.0", "–", "–"]


def constructed(classes=None, **options):
    """Features and heads made by hand: image i points at class 2, 0 or 1, with scale 3."""

    class Model:
        logit_scale = torch.tensor(3.0)
        head = None

        def encode_text(self, tokens):
            return torch.eye(3)[tokens[:, 0]]

        def encode_image(self, images):
            return images.flatten(1)[:, :3]

    suite = ClassificationSuite([EvalSet("a", "test", "ood", classes)], torch.arange(3).reshape(3, 1, 1), **options)
    suite.start({"student": Model()})
    pointing = F.normalize(torch.tensor([[0.1, 0.2, 0.9], [0.8, 0.1, 0.3], [0.2, 0.7, 0.6]]), dim=1)
    return suite, pointing


def fed(suite, pointing, labels, parts=1):
    for images, targets in zip(pointing.chunk(parts), torch.tensor(labels).chunk(parts), strict=True):
        suite.update(Batch(images, torch.zeros(len(images), 0).long(), targets, torch.arange(len(images))), 0)
    return suite.finish()["student"]["a"]


def test_a_subset_of_classes_is_classified_by_its_own_columns():
    suite, pointing = constructed(classes=((2,), (0,)))
    assert fed(suite, pointing, [0, 1, 0])["accuracy"] == 1.0  # the third prefers 2 to 0, once 1 is left out
    suite, pointing = constructed()
    assert fed(suite, pointing, [2, 0, 2])["accuracy"] == pytest.approx(2 / 3)


def test_a_label_may_cover_several_classes():
    """Label 0 covers classes 1 and 2 and has the larger of their logits; label 1 covers class 0."""
    suite, pointing = constructed(classes=((1, 2), (0,)))
    scores = fed(suite, pointing, [0, 1, 0])
    assert scores["accuracy"] == 1.0
    logits = 3.0 * torch.stack([pointing[:, 1:].max(dim=1).values, pointing[:, 0]], dim=1)
    right = logits.softmax(dim=1)[torch.arange(3), torch.tensor([0, 1, 0])]
    bins = {}
    for confidence in right.tolist():
        bins.setdefault(int(confidence * 10), []).append(1 - confidence)
    assert scores["ece"] == pytest.approx(sum(abs(sum(gaps)) for gaps in bins.values()) / 3, abs=1e-6)


def test_confidence_has_the_scale_of_the_model():
    suite, pointing = constructed()
    confidence = (3.0 * pointing).softmax(dim=1).max(dim=1).values
    expected = 0.0
    for low in np.arange(0, 1, 0.1):
        inside = (confidence > low) & (confidence <= low + 0.1)
        expected += abs((1.0 - confidence[inside]).sum().item()) / 3 if inside.any() else 0.0
    assert fed(suite, pointing, [2, 0, 1])["ece"] == pytest.approx(expected, abs=1e-6)


def test_ece_per_batch_is_the_mean_over_batches_weighted_by_size():
    labels = [2, 1, 1]
    suite, pointing = constructed(ece_per_batch=True)
    full = fed(suite, pointing, labels, parts=3)
    single = []
    for position, label in enumerate(labels):
        suite, pointing = constructed()
        single.append(fed(suite, pointing[position : position + 1], [label])["ece"])
    assert full["ece_per_batch"] == pytest.approx(sum(single) / 3, abs=1e-6)
    suite, pointing = constructed(ece_per_batch=True)
    padded = fed(suite, torch.cat([pointing, torch.zeros(3, 3)]), [*labels, -1, -1, -1], parts=2)
    assert padded["n"] == 3
    assert padded["ece_per_batch"] == pytest.approx(padded["ece"], abs=1e-6)


@pytest.mark.parametrize("names", [("a", "a"), ("a", AVERAGE)])
def test_equal_and_reserved_names_raise_errors(names):
    with pytest.raises(ValueError, match="rename one"):
        ClassificationSuite([EvalSet(name, "test", "ood") for name in names], torch.zeros(2, 1, 8).long())


def test_a_set_of_one_class_has_scores_and_a_warning():
    single = EvalSet("b", "test", "other", texts=ClassTexts(("dot",), ("{c}",)))
    with pytest.warns(UserWarning, match="b has one class, so that every prediction is right; leave the set out"):
        ClassificationSuite(
            [EvalSet("a", "test", "id"), single],
            torch.zeros(2, 1, 8).long(),
            own_prompts={"b": torch.zeros(1, 1, 8).long()},
        )
    metrics = ClassificationMetrics(1, ece_per_batch=True)
    metrics.update(torch.randn(3, 1), torch.tensor([0, 0, -1]))
    assert metrics.compute()[0] == {
        "n": 2, "accuracy": 1.0, "accuracy_top5": 1.0, "ece": 0.0, "macro_f1": 1.0, "ece_per_batch": 0.0,
    }  # fmt: skip


def test_a_set_without_samples_has_no_scores_and_is_in_no_mean(backbone):
    prompts = backbone.spec.tokenize(["one", "two"])[:, None]
    suite = ClassificationSuite(SETS, prompts, averages={"nothing": ["b"]}, temperature=True)
    suite.start({"student": backbone.model})
    images, none = torch.rand(4, 3, 32, 32), torch.zeros(4, 0, dtype=torch.long)
    for place, labels in enumerate(([0, 1, 0, 1], [-1] * 4, [1, 1, -1, 0])):
        suite.update(Batch(images, none, torch.tensor(labels), torch.arange(4)), place)
    temperature = suite.temperatures["student"].compute()
    scores = suite.finish()["student"]
    metrics = ("accuracy", "accuracy_top5", "ece", "macro_f1")
    assert scores["b"] == {"split": "test", "role": "ood", "n": 0, **dict.fromkeys(metrics)}
    assert scores[AVERAGE] == {"sets": ["c"], **{metric: scores["c"][metric] for metric in metrics}}
    assert scores["nothing"] == {"sets": [], **dict.fromkeys(metrics)}
    assert temperature["ece"]["b"] is None
    console = Console(file=io.StringIO(), width=100)
    console.print(results_table("", {"student": scores}))
    (line,) = [line.split() for line in console.file.getvalue().splitlines() if line.split()[:1] == ["b"]]
    assert line == ["b", "ood", "0", "–", "–", "–"]


def test_a_set_may_be_scored_zero_shot_beside_a_head(backbone):
    model, prompts = backbone.model, torch.randint(1, 1000, (3, 2, 8))
    images, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2])
    batch = Batch(images, torch.zeros(6, 0), labels, torch.arange(6))

    def scores(**options):
        suite = ClassificationSuite([EvalSet("one", "test", "id"), EvalSet("two", "test", "ood", **options)], prompts)
        suite.start({"student": model})
        suite.update(batch, 0)
        suite.update(batch, 1)
        return suite.finish()["student"]

    textual = scores()
    model.head = torch.nn.Linear(16, 3)
    torch.nn.init.zeros_(model.head.weight)
    assert scores()["two"]["ece"] != textual["two"]["ece"]
    beside = scores(zero_shot=True)
    assert beside["two"] == textual["two"]
    assert beside["one"] == scores()["one"]


SHAPES = ClassTexts(("circle", "square", "star", "line"), ("a {c}.", "{c}"))
OTHER_SETS = [
    SETS[0],
    EvalSet("shapes", "test", "other", texts=SHAPES),
    EvalSet("drawings", "test", "other", texts=SHAPES),
    EvalSet("points", "test", "other", texts=ClassTexts(("dot",), ("{c}",))),
]


def tokens(backbone, names, templates):
    captions = [template.replace("{c}", name) for name in names for template in templates]
    return backbone.spec.tokenize(captions).reshape(len(names), len(templates), -1)


def scored(suite, models, labels):
    """Scores on eight images in every set, of the labels of each set."""
    suite.start(models)
    for index, set_labels in enumerate(labels):
        images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(index))
        suite.update(
            Batch(images, torch.zeros(8, 0).long(), torch.tensor(set_labels, dtype=torch.long), torch.arange(8)), index
        )
    return suite.finish()


@pytest.mark.parametrize("in_bf16", [False, True])
def test_sets_with_classes_of_their_own_are_scored_zero_shot_among_these(backbone, in_bf16, monkeypatch):
    prompts = tokens(backbone, ["one", "two", "three"], ["a {c}."])
    own = {
        "shapes": tokens(backbone, *SHAPES),
        "drawings": tokens(backbone, *SHAPES),
        "points": tokens(backbone, ["dot"], ["{c}"]),
    }
    labels = [[0, 1, 2, 0, 1, 2, 0, -1], [3, 1, 2, 0, 3, -1, 3, 0], [0, 1, 2, 3, 0, 1, 2, 3], [0] * 8]
    classifier = tiny_backbone().model
    classifier.head = torch.nn.Linear(16, 3)
    models = {"student": backbone.model, "teacher": classifier}
    suite = ClassificationSuite(OTHER_SETS, prompts, tuple(models), own_prompts=own, logits_in_bf16=in_bf16)
    texts = []
    encode = backbone.model.encode_text
    monkeypatch.setattr(backbone.model, "encode_text", lambda chunk: texts.append(len(chunk)) or encode(chunk))
    results = scored(suite, models, labels)
    assert texts == [3, 8, 1]  # each prompt is encoded once

    sets = [eval_set._replace(texts=None) for eval_set in OTHER_SETS]
    alone = ClassificationSuite([sets[1]._replace(role="id")], own["shapes"], logits_in_bf16=in_bf16)
    alone.start({"student": backbone.model})
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    alone.update(Batch(images, torch.zeros(8, 0).long(), torch.tensor(labels[1]), torch.arange(8)), 0)
    expected = alone.finish()["student"]["shapes"]
    for model in models:  # of the same weights, and the head is left aside
        assert results[model]["shapes"] == {**expected, "role": "other"}
        assert results[model][AVERAGE_OTHER]["sets"] == ["shapes", "drawings", "points"]
        accuracies = [results[model][name]["accuracy"] for name in ("shapes", "drawings", "points")]
        assert results[model][AVERAGE_OTHER]["accuracy"] == pytest.approx(sum(accuracies) / 3)
        assert results[model]["points"]["accuracy"] == 1.0
        assert AVERAGE not in results[model]
    assert len(suite.details["student"]["shapes"]["classes"]["n"]) == 4
    assert not suite.state_dict()


def test_a_temperature_may_be_fitted_on_any_set(backbone):
    prompts = tokens(backbone, ["one", "two", "three"], ["a {c}."])
    own = {"shapes": tokens(backbone, *SHAPES)}
    for sets in (OTHER_SETS[:2], OTHER_SETS[1::-1]):
        suite = ClassificationSuite(sets, prompts, own_prompts=own, temperature=True)
        scored(suite, {"student": backbone.model}, [[0, 1, 2, 0, 1, 2, 0, -1]] * 2)
        assert set(suite.temperatures["student"].compute()["ece"]) == {"a", "shapes"}


def test_prompts_of_own_classes_are_needed(backbone):
    prompts = tokens(backbone, ["one", "two"], ["a {c}."])
    with pytest.raises(ValueError, match="own_prompts must have the prompts of shapes, which has classes of its own"):
        ClassificationSuite(OTHER_SETS[:2], prompts)


def test_the_table_has_the_mean_over_other_sets(backbone):
    prompts, own = tokens(backbone, ["one", "two", "three"], ["a {c}."]), {"shapes": tokens(backbone, *SHAPES)}
    suite = ClassificationSuite(OTHER_SETS[:2], prompts, own_prompts=own)
    results = scored(suite, {"student": backbone.model}, [[0, 1, 2, 0, 1, 2, 0, -1]] * 2)
    console = Console(width=80, file=io.StringIO())
    console.print(results_table("x", results))
    lines = [line.split()[:2] for line in console.file.getvalue().splitlines()]
    assert ["shapes", "other"] in lines
    assert ["mean", "other"] in lines
