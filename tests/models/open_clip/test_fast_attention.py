"""The faster attention computes what open_clip does."""

import copy

import open_clip
import pytest
import torch

from tests.models.open_clip.test_clip import TEXT
from tracer_lightning.models import ClipModel
from tracer_lightning.models.open_clip.fast_attention import (
    ClassTokenBlock,
    PatchEmbedding,
    SelfAttention,
    all_tokens,
    patch_product,
)
from tracer_lightning.teachers import FrozenTeacher

VIT = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 2}


def pair(vision=VIT, text=TEXT, kind=open_clip.CLIP):
    """open_clip's model, and ours of the same weights."""
    torch.manual_seed(0)
    plain = kind(16, vision, text).double()
    return plain, ClipModel(copy.deepcopy(plain))


def inputs():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, 32, 32, generator=generator, dtype=torch.double)
    texts = open_clip.SimpleTokenizer(context_length=16)(["one", "a photo of a cat.", "two"])
    return images, texts


VARIANTS = {
    "class token": VIT,
    "layer scale": {**VIT, "ls_init_value": 0.1},
    "norm after pooling": {**VIT, "final_ln_after_pool": True},
    "one block": {**VIT, "layers": 1},
    "patches": {**VIT, "pool_type": "avg"},
    "attentional pooling": {**VIT, "attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4},
    "scaled blocks": {**VIT, "scale_attn": True},
    "oblong patches": {**VIT, "patch_size": (8, 16)},
}


@pytest.mark.parametrize("vision", VARIANTS.values(), ids=VARIANTS)
def test_features_and_gradients_are_those_of_open_clip(vision):
    plain, ours = pair(vision)
    images, texts = inputs()
    expected = plain(images, texts)
    features = ours.encode(images, texts)
    weights = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    for image, text in (expected[:2], features):
        ((image * weights[0]).sum() + (text * weights[1]).sum()).backward()
    torch.testing.assert_close(features[0], expected[0], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(features[1], expected[1], rtol=1e-12, atol=1e-13)
    gradients = dict(ours.model.named_parameters())
    assert list(gradients) == [name for name, _ in plain.named_parameters()]
    for name, parameter in plain.named_parameters():
        if parameter.grad is None:
            assert gradients[name].grad is None, name
        else:
            torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("patch", "biased"), [((8, 8), False), ((8, 16), True)])
def test_the_product_of_patches_is_their_convolution(patch, biased):
    convolution = torch.nn.Conv2d(3, 5, patch, patch, bias=biased).double()
    weights = [convolution.weight, *([convolution.bias] if biased else [])]
    images = torch.randn(2, 3, 16, 32, dtype=torch.double, requires_grad=True)
    product = patch_product(images, convolution.weight, convolution.bias)
    torch.testing.assert_close(product, convolution(images), rtol=1e-12, atol=1e-13)
    seed = torch.randn_like(product)
    gradients, expected = (torch.autograd.grad(out, [images, *weights], seed) for out in (product, convolution(images)))
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-10, atol=1e-12)


def test_a_vit_has_the_product():
    _, ours = pair()
    assert type(ours.model.visual.conv1) is PatchEmbedding


@pytest.mark.parametrize("vision", [VARIANTS["class token"], VARIANTS["layer scale"]])
def test_the_last_block_computes_one_token(vision):
    _, ours = pair(vision)
    images, _ = inputs()
    outputs = []
    for block in ours.model.visual.transformer.resblocks:
        block.mlp.register_forward_hook(lambda module, arguments, output: outputs.append(output.shape[1]))
    ours.encode_image(images)
    assert outputs == [5, 1]
    with all_tokens(ours):
        ours.encode_image(images)
    ours.encode_image(images)
    assert outputs == [5, 1, 5, 5, 5, 1]


@pytest.mark.parametrize("name", ["patches", "attentional pooling", "scaled blocks"])
def test_towers_that_pool_all_tokens_compute_all_tokens(name):
    _, ours = pair(VARIANTS[name])
    assert not any(isinstance(module, ClassTokenBlock) for module in ours.modules())


def test_a_text_tower_with_a_mask_for_each_head_is_left_to_torch():
    plain, ours = pair(text={**TEXT, "embed_cls": True}, kind=open_clip.CustomTextCLIP)
    images, texts = inputs()
    torch.testing.assert_close(ours.encode(images, texts)[1], plain(images, texts)[1], rtol=1e-12, atol=1e-13)


def test_attention_weights_are_available():
    _, ours = pair()
    attention = ours.model.visual.transformer.resblocks[0].attn
    x = torch.randn(2, 5, 32, dtype=torch.double)
    plain, none = attention(x, x, x, need_weights=False)
    mixed, weights = attention(x, x, x)
    torch.testing.assert_close(plain, mixed, rtol=1e-12, atol=1e-13)
    assert none is None
    assert weights.shape == (2, 5, 5)


def test_a_teacher_has_the_same_attention():
    _, ours = pair()
    modules = [module for module in FrozenTeacher(ours).modules() if isinstance(module, torch.nn.MultiheadAttention)]
    assert {type(module) for module in modules} == {SelfAttention}
    assert len(modules) == 4


def test_state_dicts_are_those_of_open_clip():
    plain, ours = pair()
    assert list(ours.model.state_dict()) == list(plain.state_dict())
    open_clip.CLIP(16, VIT, TEXT).load_state_dict(ours.model.state_dict())
