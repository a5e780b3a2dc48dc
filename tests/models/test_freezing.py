"""Selection of the trained parameters."""

import pytest

from tests.conftest import tiny_backbone
from tracer_lightning.models import build_clip, train_last

BLOCKS = 4


def resnet():
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": BLOCKS}
    return build_clip(64, vision, text)


def deep_vit():
    vision = {"image_size": 32, "patch_size": 8, "width": 64, "layers": BLOCKS, "head_width": 32}
    return build_clip(64, vision, {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2})


def frozen_names(backbone, layers):
    train_last(backbone.model, layers)
    return {name for name, p in backbone.model.model.named_parameters() if not p.requires_grad}


def named(backbone, *beginnings):
    return {name for name, _ in backbone.model.model.named_parameters() if name.startswith(beginnings)}


@pytest.mark.parametrize(
    ("make", "layers", "beginnings"),
    [
        (deep_vit, None, ()),
        (deep_vit, 3, ("visual.transformer.resblocks.0.",)),
        (deep_vit, 1, (*(f"visual.transformer.resblocks.{n}." for n in range(3)), "transformer.resblocks.0.")),
        (deep_vit, 9, ()),
        (resnet, 1, (*(f"visual.layer{n}." for n in (1, 2, 3)), *(f"transformer.resblocks.{n}." for n in range(3)))),
    ],
)
def test_the_last_layers_of_both_towers_are_left(make, layers, beginnings):
    backbone = make()
    assert frozen_names(backbone, layers) == (named(backbone, *beginnings) if beginnings else set())


@pytest.mark.parametrize("make", [deep_vit, resnet])
def test_training_no_layers_trains_only_the_scale(make):
    backbone = make()
    assert frozen_names(backbone, 0) == named(backbone, "") - {"logit_scale"}


@pytest.mark.parametrize("layers", [-1, 1.5, True, "all"])
def test_invalid_numbers_raise_errors(layers):
    with pytest.raises(ValueError, match="layers must be >= 0 or None"):
        train_last(tiny_backbone().model, layers)


def test_no_trainable_parameters_raise_an_error():
    backbone = deep_vit()
    backbone.model.model.logit_scale.requires_grad_(False)
    with pytest.raises(ValueError, match="layers=0 leaves nothing to train"):
        train_last(backbone.model, 0)
