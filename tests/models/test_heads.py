"""Heads against the zero-shot suite and scikit-learn, and what is trained of a model that has one."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.conftest import tiny_backbone
from tests.models.open_clip.test_clip import TEXT, VISION
from tracer_lightning.evaluation import ClassificationSuite
from tracer_lightning.functional import logistic_regression
from tracer_lightning.models import ClipModel, build_clip, heads, load_clip, load_weights, train_parts
from tracer_lightning.models.open_clip.export import export_clip
from tracer_lightning.models.peft import add_adapters, add_lora, train_only
from tracer_lightning.types import Batch, EvalSet

CLASSES, WIDTH = 5, 16
PARTS = ("image", "text", "scale", "head")
PROBE = {"inverse_strength": 0.316, "iterations": 1000}


@pytest.fixture
def model():
    return tiny_backbone().model.double()


@pytest.fixture(scope="module")
def prompts():
    spec = tiny_backbone().spec
    templates = ("a photo of a {}.", "a drawing of the {}.", "{}")
    names = ("zero", "one", "two", "number three", "four")
    return torch.stack([spec.tokenize([template.format(name) for template in templates]) for name in names])


class Kept:
    """A metric that records its logits."""

    def reset(self):
        self.logits = []

    def update(self, logits, labels):
        self.logits.append(logits)


def suite_logits(model, prompts, images, untrained=False):
    """Compute the logits of the images in the suite."""
    suite = ClassificationSuite([EvalSet("set", "test", "id")], prompts)
    kept = Kept()
    suite._metrics = {"student": [kept]}
    suite.start({"student": model}, untrained=untrained)
    suite.update(Batch(images, torch.zeros(len(images), 0), torch.zeros(len(images)).long(), torch.arange(3)), 0)
    return torch.cat(kept.logits)


def test_the_zero_shot_head_has_the_logits_of_zero_shot_classification(model, prompts):
    images = torch.randn(3, 3, 32, 32).double()
    before = suite_logits(model, prompts, images)
    model.head = heads.zero_shot_linear(model, prompts)
    assert model.head.weight.requires_grad
    assert not model.head.bias.any()
    torch.testing.assert_close(suite_logits(model, prompts, images), before, rtol=1e-13, atol=1e-13)
    with torch.no_grad():
        model.head.weight.mul_(2)
    torch.testing.assert_close(suite_logits(model, prompts, images), 2 * before, rtol=1e-13, atol=1e-13)
    assert torch.equal(suite_logits(model, prompts, images, untrained=True), before)


def test_a_random_head_needs_no_projection_of_the_text_tower(model, prompts, monkeypatch):
    """The text projections of Hugging Face's towers may be perceptrons."""
    monkeypatch.setattr(ClipModel, "text_projection", None)
    assert heads.random_linear(model, prompts).weight.shape == (CLASSES, WIDTH)


def test_a_random_head_does_not_depend_on_the_prompts(model, prompts):
    head = heads.random_linear(model, prompts)
    assert head.weight.shape == (CLASSES, WIDTH)
    assert len(set(head.bias.tolist())) == CLASSES
    assert not torch.equal(head.weight, heads.random_linear(model, prompts).weight)


# -- the probe ---------------------------------------------------------------------------------------------------------


def clusters(samples=60, dtype=torch.double, seed=0):
    """Overlapping classes on the sphere."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % CLASSES
    centres = torch.randn(CLASSES, WIDTH, generator=generator, dtype=torch.double)
    noise = torch.randn(samples, WIDTH, generator=generator, dtype=torch.double)
    return torch.nn.functional.normalize(centres[labels] + 1.5 * noise, dim=-1).to(dtype), labels


def probe(model, prompts, data, **options):
    return heads.linear_probe(model, prompts, lambda: data, **(PROBE | options))


@pytest.mark.parametrize(("inverse_strength", "chunk"), [(0.01, 7), (0.316, 7), (10.0, 65_536)])
def test_the_probe_is_logistic_regression(model, prompts, monkeypatch, inverse_strength, chunk):
    monkeypatch.setattr(logistic_regression, "CHUNK", chunk)
    x, labels = clusters()
    scale = model.logit_scale.item()
    head = probe(model, prompts, (x, labels), inverse_strength=inverse_strength)
    judge = LogisticRegression(C=inverse_strength, solver="newton-cg", tol=1e-12, max_iter=10_000).fit(
        (scale * x).numpy(), labels.numpy()
    )
    size = scale * np.abs(judge.coef_).max()
    np.testing.assert_allclose(head.weight.detach().numpy(), scale * judge.coef_, atol=1e-5 * size)
    np.testing.assert_allclose(
        head(x).softmax(dim=-1).detach().numpy(), judge.predict_proba((scale * x).numpy()), atol=1e-6
    )


def test_the_probe_stops_where_it_has_converged(model, prompts):
    data = clusters()
    head = probe(model, prompts, data, inverse_strength=0.01)
    assert torch.equal(probe(model, prompts, data, inverse_strength=0.01, iterations=10**9).weight, head.weight)


def test_the_probe_respects_the_number_of_iterations(model, prompts, monkeypatch):
    few, many = (probe(model, prompts, clusters(), iterations=iterations) for iterations in (23, 40))
    monkeypatch.setattr(logistic_regression, "ROUND", 23)
    assert torch.equal(probe(model, prompts, clusters(), iterations=23).weight, few.weight)
    assert not torch.equal(few.weight, many.weight)


def test_the_probe_in_single_precision_predicts_the_same(prompts):
    model = tiny_backbone().model
    x, labels = clusters()
    exact = probe(model, prompts, (x, labels))
    rounded = probe(model, prompts, (x.float(), labels))
    assert rounded.weight.dtype == torch.float32
    torch.testing.assert_close(rounded(x.float()).softmax(-1), exact(x).softmax(-1).float(), atol=1e-5, rtol=0)


def test_a_class_without_images_is_never_likely(model, prompts):
    x, labels = clusters()
    head = probe(model, prompts, (x[labels < 4], labels[labels < 4]))
    assert head.weight.shape == (CLASSES, WIDTH)
    assert head(x).argmax(dim=1).max() < 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inverse_strength": 0.0}, "inverse_strength must be > 0 and iterations >= 1, got 0.0 and 1000"),
        ({"inverse_strength": float("inf")}, "got inf"),
        ({"iterations": 0}, "got 0.316 and 0"),
    ],
)
def test_impossible_values_raise_errors_before_features_are_extracted(model, prompts, options, message):
    def features():
        raise AssertionError("extracted")

    with pytest.raises(ValueError, match=message):
        heads.linear_probe(model, prompts, features, **(PROBE | options))


def test_a_probe_needs_labels(model, prompts):
    with pytest.raises(ValueError, match="features must have labels for a linear probe"):
        probe(model, prompts, (torch.zeros(0, WIDTH), torch.zeros(0, dtype=torch.long)))


# -- a head that came with the weights ---------------------------------------------------------------------------------


def test_a_kept_head_is_trained_even_if_it_was_frozen(model, prompts):
    model.head = torch.nn.Linear(WIDTH, CLASSES)
    add_lora(model, rank=2, scale=1.0)  # freezes all that there is
    assert heads.kept_head(model, prompts) is model.head
    assert model.head.weight.requires_grad
    assert model.head.bias.requires_grad


def test_a_missing_or_unfit_kept_head_raises_an_error(model, prompts):
    with pytest.raises(ValueError, match="model must have a head to keep"):
        heads.kept_head(model, prompts)
    model.head = torch.nn.Linear(WIDTH, 3)
    with pytest.raises(ValueError, match="model must have a head for 5 classes, as the data have, got 3"):
        heads.kept_head(model, prompts)


def checkpoint(path, student, teacher):
    states = {"student": student.state_dict(), "teacher.module": teacher.state_dict()}
    state = {f"{part}.{name}": value for part, values in states.items() for name, value in values.items()}
    torch.save({"state_dict": state}, path)


def classifier(seed, classes=CLASSES):
    model = tiny_backbone(seed).model
    model.head = torch.nn.Linear(WIDTH, classes)
    return model


@pytest.mark.parametrize("teacher", [False, True])
def test_heads_come_with_the_weights_of_student_and_teacher(tmp_path, teacher):
    models = {False: classifier(1), True: classifier(2)}
    checkpoint(tmp_path / "run.ckpt", models[False], models[True])
    loaded = tiny_backbone(3).model
    load_weights(loaded, tmp_path / "run.ckpt", teacher=teacher)
    for name, value in models[teacher].state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert loaded.head.weight.requires_grad


def test_weights_without_a_head_give_none(tmp_path):
    torch.save(tiny_backbone(1).model.model.state_dict(), tmp_path / "bare.pt")
    model = tiny_backbone(2).model
    load_weights(model, tmp_path / "bare.pt")
    assert model.head is None


def test_a_classifier_of_another_architecture_raises_an_error(tmp_path):
    resnet = build_clip(WIDTH, VISION, TEXT).model
    resnet.head = torch.nn.Linear(WIDTH, CLASSES)
    checkpoint(tmp_path / "run.ckpt", resnet, resnet)
    with pytest.raises(ValueError, match="the file has another architecture than the backbone"):
        load_weights(tiny_backbone().model, tmp_path / "run.ckpt")


# -- what is trained ---------------------------------------------------------------------------------------------------


def free(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_every_parameter_is_of_one_part(prompts):
    model = build_clip(WIDTH, VISION, TEXT).model
    model.head = heads.random_linear(model, prompts)
    vit = classifier(0)
    add_adapters(vit, reduction=4, ratio=0.5)
    vit.requires_grad_(True)
    for model_with_head in (model, vit):
        parts = {
            part: {n for n, _ in model_with_head.named_parameters() if ClipModel.part_of(n) == part} for part in PARTS
        }
        assert sum(map(len, parts.values())) == len(dict(model_with_head.named_parameters()))
        assert parts["head"] == {"head.weight", "head.bias"}
        assert parts["scale"] == {"model.logit_scale"}
        assert all("visual" in name or "image_adapter" in name for name in parts["image"])
        assert {"model.token_embedding.weight", "model.text_projection", "model.ln_final.bias"} <= parts["text"]
        for part, names in parts.items():
            model_with_head.requires_grad_(True)
            train_parts(model_with_head, [part])
            assert free(model_with_head) == names


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (partial(add_adapters, reduction=4, ratio=0.5), "image_adapter."),
        (partial(add_lora, rank=2, scale=1.0), "parametrizations.in_proj_weight.0."),
        (partial(train_only, patterns=["attn.in_proj_weight"]), "attn.in_proj_weight"),
    ],
)
def test_frozen_weights_of_a_trained_part_stay_frozen(prompts, prepare, expected):
    model = tiny_backbone().model
    prepare(model)
    model.head = heads.random_linear(model, prompts)
    train_parts(model, ["image", "head"])
    names = free(model) - {"head.weight", "head.bias"}
    assert len(names) < len(free(model))
    assert all(expected in name for name in names)
    assert {ClipModel.part_of(name) for name in names} == {"image"}


@pytest.mark.parametrize("parts", [["photo"], "image", ["image", "sound"]])
def test_unknown_parts_raise_errors(model, parts):
    with pytest.raises(ValueError, match=r"parts must be a list of some of image, text, scale, head"):
        train_parts(model, parts)


def test_a_part_without_trainable_parameters_raises_an_error(model):
    with pytest.raises(ValueError, match="parts must not include head, since the model has none"):
        train_parts(model, ["image", "head"])
    add_lora(model, rank=2, scale=1.0, towers=["text"])
    with pytest.raises(ValueError, match=r"parts=\['image'\] leaves nothing to train"):
        train_parts(model, ["image"])
    train_parts(model, [])
    assert not free(model)


# -- forward -----------------------------------------------------------------------------------------------------------


def test_without_texts_the_text_tower_is_never_called(model, monkeypatch):
    def called(*_):
        raise AssertionError("called")

    monkeypatch.setattr(model.model.transformer, "forward", called)
    monkeypatch.setattr(ClipModel, "encode_text", called)
    images = torch.randn(2, 3, 32, 32).double()
    image, text = model.encode(images, None)
    assert torch.equal(image, model.encode_image(images))
    assert text.shape == (0, WIDTH)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_in_full_precision(dtype):
    model = classifier(0).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
        features = model.encode_image(torch.randn(4, 3, 32, 32))
        with torch.autocast("cpu", enabled=False):
            logits = model.classify(features)
    assert logits.dtype == torch.float32
    expected = features.double() @ model.head.weight.double().T + model.head.bias.double()
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)
    logits.sum().backward()
    assert model.head.weight.grad.dtype == dtype


def test_an_exported_classifier_is_loaded_with_its_head(tmp_path):
    backbone = tiny_backbone()
    backbone.model.head = torch.nn.Linear(WIDTH, CLASSES)
    export_clip(backbone, tmp_path / "first")
    loaded = load_clip(f"local-dir:{tmp_path / 'first'}")
    assert torch.equal(loaded.model.head.weight, backbone.model.head.weight)
    assert torch.equal(loaded.model.head.bias, backbone.model.head.bias)
    assert load_clip(f"local-dir:{tmp_path / 'first'}", load_weights=False).model.head is None
    export_clip(loaded, tmp_path / "second")
    first, second = (tmp_path / name / "head.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
