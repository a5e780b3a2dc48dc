import pytest
import torch
import torch.nn.functional as F

from tests.conftest import tiny_backbone
from tests.models.test_clip import TEXT, VISION
from tracer_lightning.models import build_clip, configure_compute
from tracer_lightning.teachers import FrozenTeacher


def gradients(model, backbone):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    features = model(images, backbone.spec.tokenize(["one", "two", "three", "four"]))
    F.cross_entropy(features.logit_scale * features.image @ features.text.T, torch.arange(4)).backward()
    return [p.grad for p in model.parameters()]


def test_checkpointing_recomputes_and_changes_no_gradient():
    plain, thrifty = tiny_backbone(), tiny_backbone()
    configure_compute(thrifty.model.double(), gradient_checkpointing=True)
    calls = []
    block = thrifty.model.model.visual.transformer.resblocks[0]
    block.register_forward_pre_hook(lambda *_: calls.append(1))
    found = gradients(thrifty.model, thrifty)
    assert len(calls) == 2  # once more in the backward pass
    for one, other in zip(gradients(plain.model.double(), plain), found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not FrozenTeacher(thrifty.model).module.model.transformer.grad_checkpointing


def test_resnets_refuse_checkpointing():
    with pytest.raises(ValueError, match="gradient_checkpointing"):
        configure_compute(build_clip(16, VISION, TEXT).model, gradient_checkpointing=True)


def test_the_memory_format_changes_strides_and_no_feature():
    torch.manual_seed(0)
    backbone = build_clip(16, VISION, TEXT)
    model = backbone.model.double().eval()
    images = torch.randn(2, 3, 32, 32).double()
    before = model.encode_image(images)
    configure_compute(model, channels_last=True)
    weight = model.model.visual.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model.encode_image(images), before, rtol=1e-10, atol=1e-12)
    assert FrozenTeacher(model).module.model.visual.conv1.weight.stride() == weight.stride()
