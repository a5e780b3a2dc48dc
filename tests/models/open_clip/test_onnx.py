import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.models.open_clip.onnx import export_onnx

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


def outputs(folder, name, **inputs):
    session = onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
    values = session.run(None, {key: value.numpy() for key, value in inputs.items()})
    return dict(zip((output.name for output in session.get_outputs()), values, strict=True))


@pytest.fixture(scope="module", params=["zero-shot", "head"])
def exported(request, tmp_path_factory):
    backbone = tiny_backbone()
    prompts = backbone.spec.tokenize(["a cat", "a dog", "an owl"])[:, None]
    if request.param == "head":
        backbone.model.head = torch.nn.Linear(16, 3)
    folder = tmp_path_factory.mktemp("exported")
    images = torch.randint(256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    agreement = export_onnx(backbone, prompts, folder, images)
    assert agreement.images == agreement.same_class == 40
    assert 0 < agreement.difference < 1e-5
    return backbone, prompts, folder


class Runtime:
    """An ONNX Runtime that computes something else than torch."""

    def __init__(self, change):
        self.change = change

    def InferenceSession(self, path, providers):
        session = onnxruntime.InferenceSession(path, providers=providers)
        return SimpleNamespace(run=lambda names, inputs: self.change(session.run(names, inputs)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda outputs: [outputs[0] + 1e-3, *outputs[1:]], "features differ by 0.001 between ONNX Runtime and torch"),
        (lambda outputs: [outputs[0], *(-logits for logits in outputs[1:])], "predicts another class than torch"),
    ],
)
def test_what_differs_from_torch_is_refused(tmp_path, monkeypatch, change, message):
    backbone = tiny_backbone()
    prompts = backbone.spec.tokenize(["a cat", "a dog", "an owl"])[:, None]
    monkeypatch.setitem(sys.modules, "onnxruntime", Runtime(change))
    with pytest.raises(ValueError, match=message):
        export_onnx(backbone, prompts, tmp_path)


def test_classes_that_are_equally_probable_may_be_exchanged(tmp_path, monkeypatch):
    backbone = tiny_backbone()
    prompts = backbone.spec.tokenize(["a cat", "a cat"])[:, None]
    monkeypatch.setitem(sys.modules, "onnxruntime", Runtime(lambda outputs: [outputs[0], *(-x for x in outputs[1:])]))
    export_onnx(backbone, prompts, tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 7])
def test_images_have_the_features_and_logits_of_torch(exported, batch):
    (model, spec, _), prompts, folder = exported
    pixels = torch.rand(batch, 3, 32, 32)
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    features = model.encode_image((pixels - mean) / std)
    head = zero_shot_head(model.encode_text, prompts)
    logits = model.logit_scale * features @ head.T if model.head is None else model.classify(features)
    actual = outputs(folder, "image.onnx", pixels=pixels)
    assert actual["features"] == pytest.approx(features.numpy(), abs=1e-4)
    assert actual["logits"] == pytest.approx(logits.numpy(), abs=1e-3)
    assert np.array_equal(actual["logits"].argmax(1), logits.argmax(1))


@torch.no_grad()
def test_texts_have_the_features_of_torch(exported):
    (model, spec, _), _, folder = exported
    tokens = spec.tokenize(["a cat", "two dogs and an owl", "no", "a photo", "an owl"])
    actual = outputs(folder, "text.onnx", tokens=tokens)
    assert actual["features"] == pytest.approx(model.encode_text(tokens).numpy(), abs=1e-4)


def test_preprocessing_is_described(exported):
    spec, folder = exported[0].spec, exported[2]
    described = json.loads((folder / "preprocessing.json").read_text())
    assert (described["image_size"], described["resize_mode"]) == (spec.image_size, spec.resize_mode)
