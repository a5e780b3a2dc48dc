import math

import pytest
import torch

from tracer_lightning.functional.averaging import compensated_lerp_, lerp_
from tracer_lightning.functional.contrastive import contrastive_targets
from tracer_lightning.functional.distributed import gather
from tracer_lightning.functional.schedules import constant, warmup_cosine
from tracer_lightning.functional.text import trim_tokens, unique_captions


def test_lerp_of_lists():
    averages, values = [torch.zeros(2), torch.ones(1)], [torch.ones(2).bfloat16(), torch.zeros(1)]
    lerp_(averages, values, 0.25)
    assert averages[0].tolist() == [0.25, 0.25]
    assert averages[1].tolist() == [0.75]
    lerp_([], [], 0.5)
    compensated_lerp_([], [], [], 0.5)


@pytest.mark.parametrize(
    ("rows", "expected"), [([0] * 16, 2), ([0, 1, 2] * 5 + [3], 4), (list(range(9)) + [0] * 7, 10)]
)
def test_repeated_captions_are_deduplicated(rows, expected):
    """Rounded up to an eighth of the batch."""
    texts = torch.randint(0, 9, (16, 5), generator=torch.Generator().manual_seed(0))[rows]
    different, row = unique_captions(texts)
    assert different.shape == (expected, 5)
    assert torch.equal(different[row], texts)


@pytest.mark.parametrize("rows", [list(range(16)), [*range(15), 0]])
def test_captions_with_few_repeats_are_not_deduplicated(rows):
    texts = torch.arange(16)[rows, None].expand(-1, 3)
    different, row = unique_captions(texts)
    assert different is texts
    assert row is None


def test_no_captions_repeat_in_evaluation():
    texts = torch.zeros(4, 0, dtype=torch.long)
    assert unique_captions(texts) == (texts, None)


def test_gather_alone_is_the_identity():
    tensor = torch.ones(2, requires_grad=True)
    assert gather(tensor) is tensor


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)


def test_warmup_as_a_ratio_of_the_steps():
    for total, steps in ((10, 4), (11, 5)):
        by_ratio = warmup_cosine(optimizer(), total, None, warmup_ratio=0.4)
        by_steps = warmup_cosine(optimizer(), total, steps)
        assert [by_ratio.lr_lambdas[0](step) for step in range(total)] == [
            by_steps.lr_lambdas[0](step) for step in range(total)
        ]
    with pytest.raises(ValueError, match="either warmup_steps or warmup_ratio must be None"):
        warmup_cosine(optimizer(), 10, 4, warmup_ratio=0.4)
    with pytest.raises(ValueError, match="warmup_ratio must be >= 0 and < 1, found 1"):
        warmup_cosine(optimizer(), 10, None, warmup_ratio=1.0)


def test_warmup_cosine():
    schedule = warmup_cosine(optimizer(), total_steps=10, warmup_steps=4)
    rates = []
    for _ in range(11):
        rates.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates[7] == pytest.approx(1.0)  # half way down
    assert rates[10] == pytest.approx(0.0)
    assert rates[6] == pytest.approx(1 + math.cos(math.pi / 3))


def test_warmup_longer_than_the_run_warns_and_negative_warmup_raises_an_error():
    with pytest.warns(UserWarning, match=r"warmup_steps \(11\) is not less than the 10 steps of the run"):
        schedule = warmup_cosine(optimizer(), total_steps=10, warmup_steps=11)
    assert schedule.get_last_lr() == pytest.approx([2 / 11])
    with pytest.raises(ValueError, match="warmup_steps must be a whole number >= 0, found -1"):
        warmup_cosine(optimizer(), total_steps=10, warmup_steps=-1)


def test_constant():
    schedule = constant(optimizer(), total_steps=3)
    schedule.optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == [2.0]


def test_trimming_keeps_the_longest_caption():
    tokens = torch.zeros(2, 16, dtype=torch.long)
    tokens[0, :3] = torch.tensor([98, 5, 99])
    tokens[1, :9] = torch.tensor([98, 5, 5, 5, 5, 5, 5, 5, 99])
    assert torch.equal(trim_tokens(tokens), tokens)
    assert trim_tokens(tokens[:1]).shape == (1, 8)
    assert trim_tokens(tokens[:, :0]).shape == (2, 0)


def test_samples_without_a_class_have_their_own_caption_only():
    targets = contrastive_targets(torch.zeros(4, 2), torch.tensor([-1, 3, -1, 3]), "same_label")
    assert targets.tolist() == [[1, 0, 0, 0], [0, 0.5, 0, 0.5], [0, 0, 1, 0], [0, 0.5, 0, 0.5]]
