import pytest
import torch

from tracer_lightning.merging.weights import average, blend, check_mergeable, common_type, mean


def test_blending_is_the_weighted_sum_in_float64():
    first, second = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).unbind()
    naive = (0.7 * first.double() + 0.3 * second.double()).float()
    assert torch.allclose(blend(first, second, 0.3), naive, rtol=0, atol=1e-7)
    assert blend(torch.tensor([1.0, 10.0]), torch.tensor([3.0, 20.0]), 0.25).tolist() == [1.5, 12.5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_both_ends_and_what_is_equal_are_exact(dtype):
    first, second = torch.randn(2, 100, generator=torch.Generator().manual_seed(1)).to(dtype).unbind()
    assert torch.equal(blend(first, second, 0.0), first)
    assert torch.equal(blend(first, second, 1.0), second)
    for share in (0.1, 0.5, 0.9):
        mixed = blend(first, second, share)
        assert mixed.dtype == dtype
        assert torch.equal(blend(first, first.clone(), share), first)


def test_half_precision_is_rounded_once():
    first, second = torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.0078125], dtype=torch.bfloat16)
    assert blend(first, second, 0.75).item() == 1.0078125
    assert blend(first, second, 0.25).item() == 1.0


def test_integers_are_never_mixed():
    before, after = torch.tensor(3), torch.tensor(10)
    assert [blend(before, after, share).item() for share in (0.0, 0.5, 1.0)] == [3, 10, 10]
    assert blend(before, after, 0.5).dtype == torch.int64


def test_two_types_become_the_wider_one():
    wide, narrow = torch.tensor([0.1]), torch.tensor([1.5], dtype=torch.bfloat16)
    assert common_type([narrow, wide, narrow]) == torch.float32
    assert torch.equal(blend(wide, narrow, 0.0), wide)
    assert torch.equal(blend(narrow, wide, 1.0), wide)


def test_common_infinite_values_are_kept():
    """Such as those of a mask."""
    mask = torch.tensor([0.0, -torch.inf])
    check_mergeable({"mask": mask}, {"mask": mask.clone()}, ("a", "b"))
    assert torch.equal(blend(mask, mask.clone(), 0.5), mask)


def test_means():
    models = [
        {"a": torch.tensor([1.0, 2.0]), "n": torch.tensor(5)},
        {"a": torch.tensor([2.0, 6.0]), "n": torch.tensor(7)},
    ]
    assert {name: value.tolist() for name, value in mean(models).items()} == {"a": [1.5, 4.0], "n": 5}
    assert average([torch.tensor([1.0]), torch.tensor([2.0])]).dtype == torch.float64
    third = torch.tensor([0.1])
    assert torch.equal(mean([{"a": third}] * 3)["a"], third)


A, B, C = (torch.zeros(size) for size in (2, 3, 2))
NAN = torch.tensor([0.0, torch.nan])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"a": A, "b": B, "c": C}, {"a": A}, "y lacks b, which x has; only models of one architecture"),
        ({"a": A}, {"z": A, "a": A, "b": B}, "y has z, which x lacks; only models of one"),
        ({"a": A, "b": B}, {"a": A, "b": A}, r"b has shape \(3,\) in x and \(2,\) in y; only models of one"),
        ({"a": A, "b": B}, {"a": B, "b": A}, "^a has shape"),
        ({"a": A}, {"a": NAN}, "a of y is not finite: its training has diverged; leave it out"),
    ],
)
def test_the_error_names_the_first_difference(first, second, message):
    with pytest.raises(ValueError, match=message):
        check_mergeable(first, second, ("x", "y"))
