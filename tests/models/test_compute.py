import copy

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.device_mesh import init_device_mesh

from tests.conftest import tiny_backbone
from tests.models.open_clip.test_clip import TEXT, VISION
from tracer_lightning.functional.distributed import full_tensor
from tracer_lightning.models import build_clip, configure_compute
from tracer_lightning.models.sharding import shard
from tracer_lightning.teachers import FrozenTeacher
from tracer_lightning.types import Batch


def gradients(model, backbone):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    image, text = model.encode(images, backbone.spec.tokenize(["one", "two", "three", "four"]))
    F.cross_entropy(model.logit_scale * image @ text.T, torch.arange(4)).backward()
    return [p.grad for p in model.parameters()]


def test_checkpointing_recomputes_and_changes_no_gradient():
    plain, thrifty = tiny_backbone(), tiny_backbone()
    configure_compute(thrifty.model.double(), gradient_checkpointing=True)
    calls = []
    block = thrifty.model.model.visual.transformer.resblocks[0]
    block.register_forward_pre_hook(lambda *_: calls.append(1))
    result = gradients(thrifty.model, thrifty)
    assert len(calls) == 2  # once more in the backward pass
    for first, second in zip(gradients(plain.model.double(), plain), result, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not FrozenTeacher(thrifty.model).module.model.transformer.grad_checkpointing


def test_resnets_refuse_checkpointing():
    with pytest.raises(ValueError, match="gradient_checkpointing"):
        configure_compute(build_clip(16, VISION, TEXT).model, gradient_checkpointing=True)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("blocks_too", [False, True])
def test_micro_batches_compute_in_turn_and_change_no_gradient(size, blocks_too):
    plain, thrifty = tiny_backbone(), tiny_backbone()
    configure_compute(thrifty.model.double(), gradient_checkpointing=blocks_too, micro_batch=size)
    sizes = []
    thrifty.model.model.visual.conv1.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    result = gradients(thrifty.model, thrifty)
    parts = [len(part) for part in torch.zeros(4).split(size)]
    assert sorted(sizes) == sorted(2 * parts)  # once more in the backward pass
    for first, second in zip(gradients(plain.model.double(), plain), result, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-14)


def test_micro_batches_keep_fewer_activations():
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def kept(size):
        backbone, tensors = tiny_backbone(), {}
        configure_compute(backbone.model, micro_batch=size)

        def pack(tensor):
            tensors[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            backbone.model.encode(images, backbone.spec.tokenize(["one"] * 8))
        return sum(tensors.values()) - sum(p.numel() for p in backbone.model.parameters())

    assert kept(2) < 0.2 * kept(None)


def test_a_batch_no_larger_than_a_micro_batch_is_computed_once():
    backbone = tiny_backbone()
    configure_compute(backbone.model.double(), micro_batch=4)
    calls = []
    backbone.model.model.visual.conv1.register_forward_pre_hook(lambda *_: calls.append(1))
    gradients(backbone.model, backbone)
    assert len(calls) == 1


@pytest.fixture
def mesh(tmp_path):
    """A mesh of this process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1, 1), mesh_dim_names=("nodes", "ranks"))
    dist.destroy_process_group()


@pytest.mark.parametrize("captions", [1, 2, 4])
def test_shards_are_gathered_equally_often_for_any_number_of_captions(mesh, captions):
    """Captions that repeat are encoded once, so that ranks have different numbers of them."""
    plain, sharded = (tiny_backbone().model.double() for _ in range(2))
    configure_compute(sharded, micro_batch=1)
    shard(sharded, mesh)
    calls = []
    next(iter(sharded.blocks())).register_forward_pre_hook(lambda *_: calls.append("image"))
    sharded.model.transformer.resblocks[0].register_forward_pre_hook(lambda *_: calls.append("text"))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    texts = tiny_backbone().spec.tokenize(["one", "two", "three", "four"][:captions])
    batch = Batch(images, texts, torch.zeros(4, dtype=torch.long), torch.arange(4), text_of=torch.arange(4) % captions)
    results = []
    for model in (plain, sharded):
        features = model(batch, frozenset({"image", "text", "logit_scale"}))
        F.cross_entropy(features.image @ features.text.T, torch.arange(4)).backward()
        results.append({name: full_tensor(p.grad) for name, p in model.named_parameters() if p.grad is not None})
    assert calls.count("image") == calls.count("text") == 2 * len(images)  # once more in the backward pass
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, rtol=1e-10, atol=1e-14)


def test_micro_batches_need_fixed_statistics():
    model = build_clip(16, VISION, TEXT).model
    with pytest.raises(ValueError, match="micro_batch must be None for a model that trains BatchNorm"):
        configure_compute(model, micro_batch=2)
    model.freeze_batch_norm(True)
    configure_compute(model, micro_batch=2)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "many"])
def test_micro_batches_have_a_size(value):
    with pytest.raises(ValueError, match=r"micro_batch must be an integer >= 1 or None"):
        configure_compute(tiny_backbone().model, micro_batch=value)


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


@pytest.mark.slow
def test_captions_of_any_number_and_length_need_one_compilation():
    compilations = []
    model = tiny_backbone().model
    plain = copy.deepcopy(model)
    model.compile(backend=lambda graph, inputs: compilations.append(graph) or graph)
    images = torch.randn(4, 3, 32, 32)
    for count, length in ((4, 9), (4, 12), (3, 7), (2, 16)):
        texts = torch.randint(1, 49406, (count, length))
        texts[:, -1] = 49407
        features = model(Batch(images, texts, torch.zeros(4).long(), torch.arange(4)), {"image", "text"})
        torch.testing.assert_close(features.text, plain.encode_text(texts))
        torch.testing.assert_close(features.image, plain.encode_image(images))
    assert len(compilations) == 1


@pytest.mark.slow
def test_a_copy_of_a_compiled_model_computes_with_its_own_weights():
    backbone = tiny_backbone()
    backbone.model.compile(backend="eager")
    copied = copy.deepcopy(backbone.model)
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            parameter.add_(0.1)
    batch = Batch(torch.randn(2, 3, 32, 32), torch.zeros(2, 0), torch.zeros(2).long(), torch.arange(2))
    with torch.no_grad():
        assert torch.equal(copied(batch, {"image"}).image, copied.encode_image(batch.images))
        assert not torch.equal(backbone.model(batch, {"image"}).image, copied.encode_image(batch.images))
