"""Costs are counted again by torch, on real models and losses."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tracer_lightning.benchmarks import cost
from tracer_lightning.benchmarks.ours import flyp, tracer
from tracer_lightning.benchmarks.sizes import clip_sizes, padded
from tracer_lightning.models import ClipModel
from tracer_lightning.types import ClipFeatures, LossInputs

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 48, "heads": 2, "layers": 3},
}
SIZES = clip_sizes(CONFIG)
TOKENS, BATCH = 11, 5
GLOBAL = 24


@pytest.fixture
def model():
    return ClipModel(open_clip.model.CLIP(**CONFIG)).train()


def features(trained):
    image, text = (F.normalize(torch.randn(GLOBAL, 32), dim=-1).requires_grad_(trained) for _ in range(2))
    return ClipFeatures(image, text, torch.tensor(10.0).requires_grad_(trained))


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "ViT-H-14"])
def test_parameters_are_those_of_open_clip(name):
    def shapes(parameters):
        return sorted((len(p), p.numel() // len(p)) for p in parameters if p.ndim)

    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        model = open_clip.model.CLIP(**{key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")})
    sizes = clip_sizes(config)
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    blocks = (*model.visual.transformer.resblocks, *model.transformer.resblocks)
    assert sizes.block_parameters == sum(p.numel() for block in blocks for p in block.parameters())
    assert sorted(sizes.block_shapes) == shapes(p for block in blocks for p in block.parameters())
    assert sorted(sizes.block_shapes + sizes.rest_shapes) == shapes(model.parameters())


def test_other_architectures_raise_errors():
    with pytest.raises(ValueError, match="open_clip's own ViTs"):
        clip_sizes(open_clip.get_model_config("RN50"))


def test_vit_b_16_is_as_published():
    """41.1 GFLOPs a pair in open_clip's table of models, whose text has 77 tokens."""
    sizes = clip_sizes(open_clip.get_model_config("ViT-B-16"))
    assert sizes.forward_flops(77, pools_first=False) == pytest.approx(41.1e9, rel=1e-2)


def test_shards_are_of_whole_rows_and_of_the_same_size():
    assert padded(((5, 3), (8, 1)), 4) == 8 * 3 + 8


def counted(function):
    """Operations of a function, and what it returns; plain attention, of which the backward pass is counted once."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        result = function()
    return counter.get_total_flops(), result


def test_operations_of_open_clip_itself():
    images, texts = torch.randn(BATCH, 3, 32, 32), torch.randint(0, 99, (BATCH, 16))
    actual, _ = counted(lambda: open_clip.model.CLIP(**CONFIG)(images, texts))
    assert actual == BATCH * SIZES.forward_flops(16, pools_first=False)


@pytest.mark.parametrize("teacher", [False, True])
def test_operations_of_a_step(monkeypatch, model, teacher):
    images, texts = torch.randn(BATCH, 3, 32, 32), torch.randint(0, 99, (BATCH, TOKENS))
    module = (tracer if teacher else flyp)(model)
    forward, student = counted(lambda: module.student.encode(images, texts))
    backward, _ = counted(lambda: (student[0].sum() + student[1].sum()).backward())
    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)  # a kernel that is not counted
    teacher_flops = counted(lambda: module.teacher.module.encode(images, texts))[0] if teacher else 0
    inputs = LossInputs(features(True), features(False))
    matching, loss = counted(lambda: module.loss(inputs)[0])
    returning, _ = counted(loss.backward)
    products = cost.TRACER_PRODUCTS if teacher else cost.FLYP_PRODUCTS
    assert matching + returning == cost.similarity_flops(32, GLOBAL, products)
    of_losses = cost.similarity_flops(32, BATCH * 4, products)
    assert forward + backward + teacher_flops + of_losses == cost.step_flops(SIZES, BATCH, 4, TOKENS, teacher)


def saved_tensors(function):
    """Storages that are kept for the backward pass of a function's result: address to the tensors' shapes and size."""
    storages, alive = {}, []

    def pack(tensor):
        alive.append(tensor)
        storages[tensor.untyped_storage().data_ptr()] = (tensor.shape, tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive.append(function())
    return list(storages.values())


def test_matrices_that_the_losses_keep(model):
    module, inputs = tracer(model), LossInputs(features(True), features(False))
    actual = saved_tensors(lambda: module.loss(inputs)[0])
    assert sum(shape == (GLOBAL, GLOBAL) for shape, _ in actual) == cost.TRACER_MATRICES


def test_activations_are_close_to_the_saved_tensors(model):
    weights = {p.untyped_storage().nbytes() for p in model.parameters()}
    images, texts = torch.randn(64, 3, 32, 32), torch.randint(0, 99, (64, TOKENS))
    actual = sum(size for _, size in saved_tensors(lambda: model.encode(images, texts)) if size not in weights)
    estimate = cost.memory(SIZES, 64, 1, TOKENS).activations * cost.SINGLE / 2
    assert estimate == pytest.approx(actual, rel=0.15)


def test_memory_by_hand():
    parameters = SIZES.parameters
    single, double = cost.memory(SIZES, 8, 1, TOKENS), cost.memory(SIZES, 8, 2, TOKENS)
    assert (single.student, single.teacher, single.buckets, single.gathered) == (16 * parameters, 4 * parameters, 0, 0)
    assert (double.buckets, double.features, double.logits) == (4 * parameters, 2 * 2 * 16 * 32 * 4, 20 * 16 * 16 * 4)
    assert double.activations == single.activations
    sharded = cost.memory(SIZES, 8, 2, TOKENS, shards=2)
    assert (sharded.student, sharded.teacher, sharded.buckets) == (8 * parameters, 2 * parameters, 0)
    rest = parameters - SIZES.block_parameters
    assert sharded.gathered == 4 * (rest + 2 * padded(SIZES.image.shapes, 1) / 2)
    assert sharded.total == sum(sharded)


def test_traffic_by_hand():
    assert cost.traffic(SIZES, 8, 1, teacher=True).total == 0
    flyp, tracer = (cost.traffic(SIZES, 8, 4, teacher=teacher) for teacher in (False, True))
    features = 3 * 8 * 32 * 4 * 2
    assert flyp == (features + 3 * 8 * 8, features, 0, 2 * 3 / 4 * 4 * SIZES.parameters)
    assert tracer == (2 * features + 3 * 8 * 8, features, 0, flyp.gradients)
