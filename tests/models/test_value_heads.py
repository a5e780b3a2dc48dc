"""Heads that predict values in place of classes."""

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import tiny_backbone
from tracer_lightning.models import load_weights
from tracer_lightning.models.heads import random_pixels, random_values
from tracer_lightning.models.open_clip.embedders import conv2d
from tracer_lightning.models.open_clip.export import export_clip
from tracer_lightning.models.value_heads import PixelHead
from tracer_lightning.types import Batch, TargetSpec

NUMBERS = TargetSpec(torch.tensor([3.0, -100.0]), torch.tensor([1.0, 20.0]), binary=False)


def map_model(size=(5, 7)):
    """A model of maps of two channels, with a head of their pixels."""
    model = tiny_backbone().model.eval()
    conv2d(model, (2, *size), 6)
    model.head = random_pixels(model, TargetSpec(torch.full(size, 4.0), torch.tensor(2.0), binary=False))
    return model


def batch_of(images, targets):
    labels = torch.zeros(len(images), dtype=torch.long)
    return Batch(images, labels[:, None], labels, labels, targets=targets)


def test_pixels_are_those_of_their_patch():
    head = PixelHead(8, 6, (5, 7)).requires_grad_(False)
    head.mean += 4
    head.unit += 1
    tokens = torch.randn(2, 3 * 3, 8)  # patches of 2 x 3 pixels
    maps = head.pixels(tokens, (2, 3))
    assert maps.shape == (2, 5, 7)
    values = F.linear(F.layer_norm(tokens, (8,)), head.weight, head.bias)
    for row in range(5):
        for column in range(7):
            token, pixel = 3 * (row // 2) + column // 3, 3 * (row % 2) + column % 3
            torch.testing.assert_close(maps[:, row, column], 4 + 2 * values[:, token, pixel])


def test_all_pixels_depend_on_their_tokens():
    model, images = map_model(), torch.randn(3, 2, 5, 7)
    features = model(batch_of(images, torch.zeros(3, 5, 7)), {"logits", "targets"})
    assert features.image.shape == (0, 16)  # which nothing reads
    assert torch.equal(features.logits, model.predict(images))
    features.logits.square().sum().backward()
    for name in ("visual.conv1.projection.weight", "visual.transformer.resblocks.0.mlp.c_fc.weight"):
        assert model.model.get_parameter(name).grad.abs().sum() > 0
    assert model.head.norm.weight.grad.abs().sum() > 0


def test_features_beside_pixels_are_those_without():
    model, images = map_model(), torch.randn(3, 2, 5, 7)
    features = model(batch_of(images, torch.zeros(3, 5, 7)), {"image", "logits", "targets"})
    torch.testing.assert_close(features.image, model.encode_image(images))


def test_values_are_in_their_own_units():
    model, images = tiny_backbone().model.eval(), torch.randn(4, 3, 32, 32)
    model.head = random_values(model, NUMBERS)
    with torch.no_grad():
        raw = F.linear(model.encode_image(images), model.head.weight, model.head.bias)
        torch.testing.assert_close(model.predict(images), NUMBERS.mean + NUMBERS.unit * raw)
        assert torch.equal(model(batch_of(images, torch.zeros(4, 2)), {"logits"}).logits, model.predict(images))


@pytest.mark.parametrize("kind", ["values", "pixels"])
def test_a_checkpoint_brings_its_head(tmp_path, kind):
    model, images = map_model(), torch.randn(3, 2, 5, 7)
    if kind == "values":
        model.head = random_values(model, NUMBERS)
    torch.save({"state_dict": {f"student.{name}": value for name, value in model.state_dict().items()}}, tmp_path / "m")
    loaded = tiny_backbone(seed=1).model.eval()
    conv2d(loaded, (2, 5, 7), 6)
    load_weights(loaded, tmp_path / "m")
    assert torch.equal(loaded.predict(images), model.predict(images))


def test_what_a_head_cannot_predict_is_refused(tmp_path):
    backbone = tiny_backbone()
    with pytest.raises(ValueError, match=r"values \(K,\), and have the shape \(5, 7\)"):
        random_values(backbone.model, TargetSpec(torch.zeros(5, 7), torch.ones(()), binary=True))
    with pytest.raises(ValueError, match=r"pixels \(H, W\) of a model with an embedder of maps"):
        random_pixels(backbone.model, TargetSpec(torch.zeros(32, 32), torch.ones(()), binary=True))
    backbone.model.head = random_values(backbone.model, NUMBERS)
    with pytest.raises(ValueError, match="a head that predicts values can't be exported"):
        export_clip(backbone, tmp_path)
