"""Each lever changes what it says, and not what is learned."""

import pytest
import torch

from tracer_lightning.benchmarks import levers
from tracer_lightning.benchmarks.levers import LEVERS, LeverOptions
from tracer_lightning.functional.optimizers import AdamW
from tracer_lightning.models import build_clip
from tracer_lightning.models.open_clip.fast_attention import ClassTokenBlock, PatchEmbedding, SelfAttention

OPTIONS = LeverOptions("any", 32, 2, 1, "cpu", "64-true", ())
EXACT = [
    name
    for name in LEVERS
    if name not in ("nothing", "teacher's pass in bf16", "teacher updated every 10 steps", "compiled")
]


def small_backbone():
    """One block per tower, and room for long captions."""
    return build_clip(
        embed_dim=16,
        vision_cfg={"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    )


@pytest.fixture
def modules(monkeypatch):
    """The modules that were trained, and their batches."""
    seen = []
    original = levers.step_seconds

    def spy(module, batches, *rest):
        seen.append((module, batches))
        return original(module, batches, *rest)

    monkeypatch.setattr(levers, "step_seconds", spy)
    monkeypatch.setattr(levers, "load_clip", lambda name: small_backbone())
    return seen


def is_there(name, module, batches):
    """Return whether the lever is in use."""
    model = module.student.model
    return {
        "attention as it lies, last block's class token": any(isinstance(m, ClassTokenBlock) for m in model.modules())
        and any(isinstance(m, SelfAttention) for m in model.modules()),
        "patches by a product": isinstance(model.visual.conv1, PatchEmbedding),
        "captions trimmed": batches[0].texts.shape[1] < model.context_length,
        "repeated captions once (16 different)": batches[0].text_of is not None,
        "AdamW fused": module.optimizer.func is AdamW,
        "channels last": model.visual.conv1.weight.is_contiguous(memory_format=torch.channels_last),
        "blocks checkpointed": model.transformer.grad_checkpointing,
        "micro-batches of a quarter": module.student.micro_batch == 8,
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_a_lever_is_there_on_one_side_only_and_changes_no_weight(modules, name):
    levers.measure_pair(*LEVERS[name], OPTIONS)
    (first, first_batches), (second, second_batches) = modules[:2]
    assert len(first_batches) == len(second_batches) == 3
    assert is_there(name, first, first_batches)
    assert not is_there(name, second, second_batches)
    for (key, value), actual in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            torch.testing.assert_close(actual, value, rtol=1e-6, atol=1e-8, msg=key)
