"""SigLIP models of open_clip, whose image tower is timm's ViT."""

import pytest
import torch

from tests.models.open_clip.siglip_models import siglip_backbone
from tracer_lightning.models.open_clip.activations import FEATURES, BlockOutputs
from tracer_lightning.models.peft import add_lora, train_only


@pytest.fixture
def model(tmp_path):
    return siglip_backbone(tmp_path).model.eval()


def trained(model):
    return {name.removeprefix("model.") for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_parameter_efficient_methods_train_both_towers(model):
    train_only(model, ["attn.in_proj_weight"], blocks=[-1])
    assert trained(model) == {
        "visual.trunk.blocks.1.attn.qkv.weight",
        "text.transformer.resblocks.1.attn.in_proj_weight",
    }
    add_lora(model, rank=2, scale=1.0, blocks=[0])
    assert {name.partition(".parametrizations.")[0] for name in trained(model)} == {
        "visual.trunk.blocks.0.attn.qkv",
        "text.transformer.resblocks.0.attn",
    }


def test_scale_and_bias_are_of_no_tower(model):
    model.train_last(0)
    assert trained(model) == {"logit_scale", "logit_bias"}


def test_the_last_blocks_are_trained_and_sharded_apart(model):
    model.train_last(1)
    assert not any("blocks.0." in name for name in trained(model))
    assert any("trunk.blocks.1." in name for name in trained(model))
    assert len(list(model.blocks())) == 4
    assert model.replicated == ("model.logit_scale", "model.logit_bias")


def test_outputs_of_blocks_are_means_over_patches(model):
    images, outputs = torch.randn(2, 3, 32, 32), {}
    last = model.model.visual.trunk.blocks[-1]
    last.register_forward_hook(lambda module, inputs, output: outputs.update(last=output))
    with torch.no_grad():
        result = BlockOutputs(model, "image")(images)
    assert list(result) == ["1", "2", FEATURES]
    torch.testing.assert_close(result["2"], outputs["last"].mean(dim=1))
