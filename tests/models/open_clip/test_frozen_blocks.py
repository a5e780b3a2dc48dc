"""Frozen first blocks are computed once for all models that share them, to the same features."""

import pytest
import torch

from tests.models.open_clip.test_fast_attention import VARIANTS, inputs, pair
from tracer_lightning.models.open_clip.frozen_blocks import PartlyEncoded
from tracer_lightning.models.peft import add_adapters, add_lora, train_only
from tracer_lightning.models.value_heads import PixelHead
from tracer_lightning.types import Batch

READS = frozenset({"image", "text"})
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 3}


def batch_of_three():
    images, texts = inputs()
    return Batch(images, texts, torch.arange(3), torch.arange(3))


def begun_blocks(model, reads=READS):
    """Numbers of blocks that are computed beforehand, of images and texts."""
    begun = model.through_frozen_layers(batch_of_three(), reads)
    return tuple(part.blocks if isinstance(part, PartlyEncoded) else 0 for part in (begun.images, begun.texts))


@pytest.mark.parametrize("vision", VARIANTS.values(), ids=VARIANTS)
def test_features_and_gradients_are_those_of_the_batch(vision):
    _, model = pair(vision, TEXT)
    train_only(model, ["attn.in_proj_weight"], blocks=[-1])
    batch, gradients = batch_of_three(), []
    for inputs_of_model in (batch, model.through_frozen_layers(batch, READS)):
        features = model.train()(inputs_of_model, READS)
        (features.image @ features.text.T).exp().diag().sum().backward()
        gradients.append((features.image, features.text, *(p.grad for p in model.parameters() if p.requires_grad)))
        model.zero_grad()
    assert all(torch.equal(ours, expected) for ours, expected in zip(*reversed(gradients), strict=True))


def test_blocks_before_the_first_trained_one_are_computed():
    _, model = pair({**VARIANTS["class token"], "layers": 3}, TEXT)
    assert begun_blocks(model) == (0, 0)
    add_lora(model, rank=2, scale=0.2, blocks=[-1])
    assert begun_blocks(model) == (2, 2)
    assert begun_blocks(model, frozenset({"image"})) == (2, 0)
    model.model.token_embedding.requires_grad_(True)
    assert begun_blocks(model) == (2, 0)
    model.model.visual.ln_pre.bias.requires_grad_(True)
    assert begun_blocks(model) == (0, 0)


def test_all_blocks_of_a_frozen_tower_are_computed():
    _, model = pair(text=TEXT)
    add_lora(model, rank=2, scale=0.2, towers=["text"])
    assert begun_blocks(model) == (2, 0)
    _, model = pair(text=TEXT)
    add_adapters(model, reduction=4, ratio=0.2)
    assert begun_blocks(model) == (2, 3)


@pytest.mark.parametrize(
    ("vision", "text"),
    [
        ({**VARIANTS["class token"], "patch_dropout": 0.5}, TEXT),
        ({"image_size": 32, "patch_size": 16, "width": 8, "head_width": 16, "layers": [1, 1, 1, 1]}, TEXT),
        (VARIANTS["scaled blocks"], {**TEXT, "no_causal_mask": True}),
    ],
    ids=["patch dropout", "ResNet", "other blocks, and no mask"],
)
def test_towers_whose_blocks_might_differ_compute_everything_themselves(vision, text):
    _, model = pair(vision, text)
    model.requires_grad_(False)
    images, texts = begun_blocks(model)
    assert images == 0
    assert texts == (0 if "no_causal_mask" in text else 3)


@pytest.mark.parametrize(
    "prepare",
    [
        lambda model: model.train_in_micro_batches(2),
        lambda model: setattr(model, "head", PixelHead(width=32, area=256, size=(32, 32))),
        lambda model: model.compile(backend="eager"),
    ],
    ids=["micro-batches", "predicted pixels", "compiled"],
)
def test_other_computations_begin_with_the_batch(prepare):
    _, model = pair(text=TEXT)
    model.requires_grad_(False)
    assert begun_blocks(model) == (2, 3)
    prepare(model)
    assert begun_blocks(model) == (0, 0)
