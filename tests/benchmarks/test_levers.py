"""Each lever changes what it says, and not what is learned."""

import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.benchmarks import levers
from tracer_lightning.benchmarks.levers import LEVERS, LeverOptions
from tracer_lightning.functional.optimizers import AdamW
from tracer_lightning.models.towers import LastBlock, SelfAttention

OPTIONS = LeverOptions("any", 16, 2, 1, "cpu", "64-true", ())
EXACT = [
    name for name in LEVERS if name not in ("teacher's pass in bf16", "teacher updated every 10 steps", "compiled")
]


@pytest.fixture
def modules(monkeypatch):
    """The modules that were trained, and their batches."""
    seen = []
    original = levers.step_seconds

    def spy(module, batches, *rest):
        seen.append((module, batches))
        return original(module, batches, *rest)

    monkeypatch.setattr(levers, "step_seconds", spy)
    monkeypatch.setattr(levers, "load_clip", lambda name: tiny_backbone())
    return seen


@pytest.mark.parametrize("name", EXACT)
def test_levers_change_no_weight(modules, name):
    levers.pair_seconds(*LEVERS[name], OPTIONS)
    (one, given), (other, others) = modules[:2]
    assert len(given) == len(others) == 3
    for (key, value), found in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            torch.testing.assert_close(found, value, rtol=1e-6, atol=1e-8, msg=key)


def test_each_is_there_on_one_side_only(modules):
    def sides(name):
        modules.clear()
        levers.pair_seconds(*LEVERS[name], OPTIONS)
        return modules[:2]

    (one, _), (other, _) = sides("attention as it lies, last block's class token")
    assert any(isinstance(module, LastBlock) for module in one.modules())
    assert not any(isinstance(module, LastBlock | SelfAttention) for module in other.modules())
    (_, one), (_, other) = sides("captions trimmed")
    assert one[0].texts.shape[1] <= other[0].texts.shape[1]
    (_, one), (_, other) = sides("repeated captions once (16 different)")
    assert one[0].text_of is None  # 16 of 16
    (one, _), (other, _) = sides("AdamW fused")
    assert one.optimizer.func is AdamW
    assert other.optimizer.func is torch.optim.AdamW
    (one, _), (other, _) = sides("blocks checkpointed")
    assert one.student.model.transformer.grad_checkpointing
    assert not other.student.model.transformer.grad_checkpointing
    (one, _), (other, _) = sides("micro-batches of a quarter")
    assert (one.student.micro_batch, other.student.micro_batch) == (4, None)
