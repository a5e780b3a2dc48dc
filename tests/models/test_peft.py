"""Parameter-efficient methods train their parameters and no others."""

import copy
from functools import partial

import open_clip
import pytest
import torch

from tests.conftest import tiny_backbone
from tests.models.open_clip.test_clip import TEXT, VISION
from tracer_lightning.functional.lora_merge import merge
from tracer_lightning.models import ClipModel, build_clip
from tracer_lightning.models.peft import add_adapters, add_lora, train_only
from tracer_lightning.teachers import FrozenTeacher, WMATeacher

METHODS = {
    "a_clip": (partial(train_only, patterns=["attn.in_proj_weight"]), 30_670_848),
    "bitfit": (partial(train_only, patterns=["*bias"]), 168_960),
    "lora": (partial(add_lora, rank=16, scale=0.2), 983_040),
    "clip_adapter": (partial(add_adapters, reduction=4, ratio=0.2), 262_144),
}


@pytest.fixture(scope="module")
def vit_b_32():
    """A model without memory for its weights."""
    with torch.device("meta"):
        model = ClipModel(open_clip.create_model("ViT-B-32", pretrained=None, device="meta"))
    assert sum(parameter.numel() for parameter in model.parameters()) == 151_277_313
    return model


@pytest.mark.parametrize("method", METHODS)
def test_published_numbers_of_trained_parameters(vit_b_32, method):
    model = copy.deepcopy(vit_b_32)
    prepare, expected = METHODS[method]
    prepare(model)
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == expected
    assert not model.model.logit_scale.requires_grad


def inputs(backbone):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    return images, backbone.spec.tokenize(["one", "two", "three", "four"])


def trained(model, batch, steps=3):
    """The model after some steps of a task."""
    optimizer = torch.optim.SGD((parameter for parameter in model.parameters() if parameter.requires_grad), lr=0.1)
    for _ in range(steps):
        image, text = model.train().encode(*batch)
        loss = torch.nn.functional.cross_entropy(5 * image @ text.T, torch.tensor([1, 0, 3, 2]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("method", METHODS)
def test_methods_start_at_the_model_learn_and_keep_frozen_weights(method):
    backbone = tiny_backbone(1)  # whose four hidden units of an adapter are not all off
    model = backbone.model.double()
    batch = inputs(backbone)
    before, start = model.eval().encode(*batch), {name: value.clone() for name, value in model.state_dict().items()}
    METHODS[method][0](model)
    for ours, theirs in zip(model.eval().encode(*batch), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    first = trained(model, batch, steps=1)
    assert trained(model, batch, steps=5) < first
    after = dict(model.named_parameters())
    for name, value in frozen.items():
        assert torch.equal(after[name], value)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.requires_grad)
    again = [model.eval().encode(*batch) for _ in range(2)]
    for first, second in zip(*again, strict=True):
        assert torch.equal(first, second)
    changed = {
        name for name, value in model.state_dict().items() if name in start and not torch.equal(value, start[name])
    }
    assert bool(changed) == (method in ("a_clip", "bitfit"))


def test_lora_is_merged_without_loss():
    backbone = tiny_backbone()
    model, batch = backbone.model.double(), inputs(backbone)
    names = set(model.state_dict())
    add_lora(model, rank=2, scale=0.2)
    trained(model, batch)
    before, weight = model.eval().encode(*batch), model.model.transformer.resblocks[0].attn.in_proj_weight.clone()
    merge(model)
    assert set(model.state_dict()) == names
    assert torch.equal(model.model.transformer.resblocks[0].attn.in_proj_weight, weight)
    for ours, theirs in zip(model.encode(*batch), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_lora_by_hand():
    backbone = tiny_backbone()
    model = backbone.model.double()
    weight = model.model.transformer.resblocks[0].attn.in_proj_weight.clone()
    add_lora(model, rank=2, scale=0.2, towers=["text"])
    attention = model.model.transformer.resblocks[0].attn
    update = attention.parametrizations.in_proj_weight[0]
    torch.nn.init.normal_(update.query_b)
    torch.nn.init.normal_(update.value_b)
    width = weight.shape[1]
    expected = weight.clone()
    expected[:width] += 0.2 * update.query_b @ update.query_a
    expected[2 * width :] += 0.2 * update.value_b @ update.value_a
    torch.testing.assert_close(attention.in_proj_weight, expected)
    assert not torch.nn.utils.parametrize.is_parametrized(model.model.visual.transformer.resblocks[0].attn)


def test_blocks_and_towers_can_be_selected():
    model = tiny_backbone().model
    train_only(model, ["attn.in_proj_weight"], towers=["image"], blocks=[-1])
    trained_names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained_names == ["model.visual.transformer.resblocks.0.attn.in_proj_weight"]


def test_a_block_that_is_named_twice_gets_one_update():
    model = tiny_backbone().model
    add_lora(model, rank=2, scale=0.2, towers=["image", "image"], blocks=[0, -1])
    attention = model.model.visual.transformer.resblocks[0].attn
    assert len(attention.parametrizations.in_proj_weight) == 1


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (partial(train_only, patterns=["attn.nope"]), "'attn.nope' matches no parameter"),
        (partial(train_only, patterns=["*"], towers=["sound"]), "towers must be some of image, text"),
        (partial(add_lora, rank=4, scale=1.0, blocks=[7]), "1 blocks, got 7"),
        (partial(train_only, patterns=[]), "patterns must name parameters to train, got none"),
        (partial(add_lora, rank=4, scale=1.0, blocks=[]), "blocks must name at least one block, got none"),
        (partial(add_lora, rank=0, scale=1.0), "rank must be >= 1 and scale > 0, got 0"),
        (partial(add_lora, rank=4, scale=0.0), "rank must be >= 1 and scale > 0, got 4 and 0"),
        (partial(add_adapters, reduction=4, ratio=1.0), "ratio in"),
    ],
)
def test_invalid_arguments_raise_errors(prepare, message):
    with pytest.raises(ValueError, match=message):
        prepare(tiny_backbone().model)


def test_a_tower_without_blocks_raises_an_error():
    model = build_clip(16, VISION, TEXT).model
    with pytest.raises(ValueError, match="towers must not include image: the image tower is not a transformer"):
        add_lora(model, rank=2, scale=0.2)
    add_lora(model, rank=2, scale=0.2, towers=["text"])


def tensor_bytes(*modules):
    """Count the bytes of all tensors, shared ones once."""
    tensors = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            tensors[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
    return sum(tensors.values())


def test_a_teacher_over_lora_costs_little_memory():
    model = tiny_backbone().model
    unadapted = copy.deepcopy(model)
    plain = tensor_bytes(model)
    add_lora(model, rank=1, scale=0.2)
    teacher = WMATeacher(model, lambda progress: 1.0, total_steps=10)
    assert tensor_bytes(model, teacher) - tensor_bytes(model) < 0.05 * plain
    full = FrozenTeacher(unadapted)
    assert tensor_bytes(full) > 0.9 * plain


def test_a_teacher_averages_the_updates_of_lora():
    backbone = tiny_backbone()
    model, batch = backbone.model.double(), inputs(backbone)
    add_lora(model, rank=2, scale=0.2)
    teacher = WMATeacher(model, lambda progress: 1.0, total_steps=3)
    states = [copy.deepcopy(model.state_dict())]
    for step in range(1, 4):
        trained(model, batch, steps=1)
        teacher.update(model, step)
        states.append(copy.deepcopy(model.state_dict()))
    averaged = dict(teacher.module.named_parameters())
    for name, parameter in model.named_parameters():
        expected = torch.stack([state[name] for state in states]).mean(dim=0) if parameter.requires_grad else parameter
        torch.testing.assert_close(averaged[name], expected)
    attention = teacher.module.model.transformer.resblocks[0].attn
    assert attention.parametrizations.in_proj_weight.original is (
        model.model.transformer.resblocks[0].attn.parametrizations.in_proj_weight.original
    )


def effective(model):
    merged = copy.deepcopy(model)
    merge(merged)
    return {name: value.detach().clone() for name, value in merged.named_parameters()}


def test_a_teacher_may_average_merged_lora_weights():
    model = tiny_backbone().model.double()
    add_lora(model, rank=2, scale=0.2)
    before = copy.deepcopy(model.state_dict())
    teacher = WMATeacher(model, lambda progress: 1.0, lora_space="merged")
    factors = WMATeacher(model, lambda progress: 1.0, total_steps=3)
    teacher.begin(model, 3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    points = [effective(model)]
    for step in range(1, 4):
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter))
        teacher.update(model, step)
        factors.update(model, step)
        points.append(effective(model))
    averaged = dict(teacher.module.named_parameters())
    assert averaged.keys() == points[0].keys()
    for name, parameter in averaged.items():
        torch.testing.assert_close(parameter, torch.stack([point[name] for point in points]).mean(dim=0))
        changed = not torch.equal(points[-1][name], points[0][name])
        assert (name in teacher.trained) == changed == ("in_proj_weight" in name)
        if not changed:
            assert parameter is model.get_parameter(name)
    factor_average = effective(factors.module)
    name = teacher.trained[0]
    assert (factor_average[name] - averaged[name]).norm() > 0.1 * (averaged[name] - points[0][name]).norm()
    restored = WMATeacher(model, lambda progress: 1.0, lora_space="merged")
    restored.load_state_dict(teacher.state_dict())
    assert torch.equal(restored.module.get_parameter(name), averaged[name])


def test_lora_space_without_lora_warns_and_unknown_values_raise_an_error():
    model = tiny_backbone().model
    with pytest.warns(UserWarning, match=r"lora_space 'merged' is ignored: no weight has a low-rank update"):
        assert not WMATeacher(model, lambda progress: 1.0, lora_space="merged").merged
    with pytest.raises(ValueError, match="lora_space must be one of factors, merged, found 'product'"):
        WMATeacher(model, lambda progress: 1.0, lora_space="product")


def test_batch_norm_keeps_its_statistics_where_asked():
    images = torch.randn(4, 3, 32, 32)
    for keeps in (False, True):
        model = build_clip(16, VISION, TEXT).model
        model.freeze_batch_norm(keeps)
        before = model.model.visual.bn1.running_mean.clone()
        model.train().encode_image(images)
        assert torch.equal(model.model.visual.bn1.running_mean, before) == keeps
        assert model.model.visual.bn1.training != keeps
        assert model.model.visual.bn1.weight.requires_grad
        assert not model.moves_frozen_statistics
        train_only(model, ["*bias"], towers=["text"])
        assert model.moves_frozen_statistics != keeps
    with pytest.raises(ValueError, match="frozen must be False for a model without BatchNorm layers"):
        tiny_backbone().model.freeze_batch_norm(True)
