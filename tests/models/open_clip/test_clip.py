import open_clip
import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.functional.text import trim_tokens
from tracer_lightning.losses import CrossFrobenius, Orthogonality
from tracer_lightning.models import ClipModel, build_clip, load_clip
from tracer_lightning.types import Batch, ClipFeatures

VISION = {"image_size": 32, "width": 16, "layers": [1, 1, 1, 1]}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}


def batch(images, texts):
    none = torch.full((len(images),), -1)
    return Batch(images, texts, none, none)


def test_features_are_those_of_open_clip(backbone):
    images = torch.randn(3, 3, 32, 32)
    texts = backbone.spec.tokenize(["a photo of a cat.", "two", "a much longer caption of some other thing"])
    plain = open_clip.CLIP(**backbone.config)
    plain.load_state_dict(backbone.model.model.state_dict())
    image, text, scale = plain(images, texts)
    ours = backbone.model(batch(images, texts), ClipFeatures._fields[:3])
    torch.testing.assert_close(ours.image, image, rtol=0, atol=1e-6)  # to rounding: see test_towers.py
    torch.testing.assert_close(ours.text, text, rtol=0, atol=1e-6)
    assert torch.equal(ours.logit_scale, scale)


@pytest.fixture(scope="module")
def resnet_50():
    torch.manual_seed(0)
    return load_clip("RN50")


@pytest.mark.slow
def test_trimming_changes_no_feature_of_a_published_text_tower(resnet_50):
    model = resnet_50.model.eval()
    tokens = resnet_50.spec.tokenize(["a photo of a cat.", "a drawing of the number seven."])
    assert model.trims_text
    trimmed = trim_tokens(tokens)
    assert trimmed.shape[1] < tokens.shape[1]
    with torch.no_grad():
        torch.testing.assert_close(
            model.encode_text(trimmed), model.model.encode_text(tokens, normalize=True), rtol=0, atol=1e-6
        )


def test_gradients_are_the_same_with_trimmed_text():
    tokens = tiny_backbone().spec.tokenize(["one", "number two"])
    gradients = []
    for texts in (tokens, trim_tokens(tokens)):
        model = tiny_backbone().model.double()
        model.encode_text(texts).square().mul(torch.arange(16)).sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-12, atol=1e-12)


def test_towers_that_pool_the_last_position_are_not_trimmed():
    """An open_clip tower that pools at the last position."""
    model = open_clip.CLIP(16, VISION, TEXT | {"pool_type": "last"})
    assert not ClipModel(model).trims_text


def test_towers_whose_end_of_text_is_not_the_highest_token_are_not_trimmed():
    """In open_clip's worldwide models token 2 ends a text and may follow tokens of higher ids."""
    assert not ClipModel(open_clip.CLIP(16, VISION, TEXT | {"pool_type": "eos", "eos_id": 2})).trims_text


def test_resnets_have_projections():
    model = build_clip(16, VISION, TEXT).model
    assert model.image_projection.shape == (16 * 32, 16)
    assert torch.equal(model.image_projection, model.model.visual.attnpool.c_proj.weight.T)
    assert CrossFrobenius()(model, None).item() > 0
    assert Orthogonality()(model, None).item() > 0


def test_models_with_a_logit_bias_give_it_where_a_loss_reads_it():
    model = build_clip(16, VISION, TEXT, init_logit_scale=2.0, init_logit_bias=-10.0).model
    assert model.part_of("model.logit_bias") == "scale"
    inputs = batch(torch.randn(2, 3, 32, 32), torch.randint(1, 9, (2, 16)))
    features = model(inputs, {"image", "text", "logit_scale", "logit_bias"})
    with torch.no_grad():
        model.model.logit_bias.add_(1.0)  # as a step does, after which callbacks read features
    assert features.logit_bias.item() == -10.0
    torch.testing.assert_close(features.logit_scale, torch.tensor(2.0).exp())
    assert features.logged().keys() == {"logit_scale", "logit_bias"}
    assert model(inputs, {"image"}).logit_bias is None


def test_the_input_specification(backbone):
    assert backbone.spec.trims_text
    assert backbone.spec.tokenize(["one"]).shape == (1, 16)


def test_published_architectures_have_their_input_specification(resnet_50):
    assert resnet_50.spec.image_size == 224
    assert resnet_50.spec.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
