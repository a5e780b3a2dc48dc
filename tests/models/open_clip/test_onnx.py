import json

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
    export_onnx(backbone, prompts, folder)
    return backbone, prompts, folder


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
