from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.conftest import tiny_backbone
from tracer_lightning.data import DigitsDataModule
from tracer_lightning.data.core.loader import ResumableLoader
from tracer_lightning.data.core.sampler import EpochSampler, EvalSampler
from tracer_lightning.data.digits.datamodule import TensorSource
from tracer_lightning.data.images.captions import CaptionTable, SampleRandomness, sample_rng
from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.samples import CaptionedDataset, Collate, SampleBuilder


@pytest.fixture(scope="module")
def spec():
    return tiny_backbone().spec


def digits(spec, **options):
    defaults = {"train_styles": ["spurious"], "renderings_per_digit": 1, "batch_size": 64, "eval_batch_size": 100}
    return DigitsDataModule(spec, **(defaults | {"num_workers": 0, "seed": 0, "max_bad_fraction": 0.0} | options))


def indices(sampler):
    return [index for batch in sampler for _, index in batch]


def test_every_epoch_has_another_permutation():
    sampler = EpochSampler(10, 5, seed=0)
    first = indices(sampler)
    sampler.set_epoch(1)
    second = indices(sampler)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first == indices(EpochSampler(10, 5, seed=0))
    assert first != indices(EpochSampler(10, 5, seed=1))


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_global_batches(world):
    global_batches = list(EpochSampler(22, 8, seed=3))
    ranks = [list(EpochSampler(22, 8, seed=3, rank=rank, world_size=world)) for rank in range(world)]
    for number, batch in enumerate(global_batches):
        assert [key for rank in ranks for key in rank[number]] == batch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 11}, r"batch_size=11 is larger than the training set of 10"),
        ({"batch_size": 5, "world_size": 2}, "multiple of the 2 processes"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
    ],
)
def test_invalid_batch_sizes_raise_errors(options, message):
    with pytest.raises(ValueError, match=message):
        EpochSampler(10, seed=0, **options)


@pytest.mark.parametrize(("size", "batch", "world"), [(10, 3, 1), (10, 3, 2), (1, 4, 3), (7, 2, 3), (12, 4, 3)])
def test_evaluation_reads_every_sample_once_in_equally_many_batches(size, batch, world):
    samplers = [EvalSampler(size, batch, rank, world) for rank in range(world)]
    seen = [index for sampler in samplers for index in indices(sampler) if index >= 0]
    assert sorted(seen) == list(range(size))
    assert len({len(list(sampler)) for sampler in samplers}) == 1
    assert all(len(list(sampler)) == len(sampler) for sampler in samplers)


@pytest.mark.parametrize("world", [1, 3])
def test_evaluation_may_read_a_subset_in_any_order(world):
    chosen = [7, 2, 9, 4]
    samplers = [EvalSampler(10, 3, rank, world, chosen) for rank in range(world)]
    seen = [[index for index in indices(sampler) if index >= 0] for sampler in samplers]
    assert seen == [chosen[rank::world] for rank in range(world)]
    assert len({len(list(sampler)) for sampler in samplers}) == 1
    assert all(len(list(sampler)) == len(sampler) for sampler in samplers)


def test_evaluation_sets_are_shuffled_by_seed(spec):
    def order(*shuffled):
        data = digits(spec)
        if shuffled:
            data.shuffle_evaluation(*shuffled)
        return torch.cat([batch.indices for batch in data.eval_loader(data.eval_sets[0])]).tolist()

    unshuffled, shuffled = order(), order(1)
    assert unshuffled == sorted(shuffled) != shuffled
    assert order(1, 20) == shuffled[:20] != order(2, 20)


def test_padding_has_no_label():
    source = TensorSource(torch.zeros(3, 3, 4, 4, dtype=torch.uint8), [2, 1, 0])
    loader = DataLoader(
        CaptionedDataset(source, SampleBuilder(None, None, torch.zeros(3, 4, 4, dtype=torch.uint8), 0)),
        batch_sampler=EvalSampler(3, 2, rank=1, world_size=2),
        collate_fn=Collate(True),
    )
    (batch,) = list(loader)
    assert batch.labels.tolist() == [1, -1]
    assert batch.indices.tolist() == [1, -1]
    assert batch.texts.shape == (2, 0)


def loader(spec, consumed=0, epoch=0, workers=0, batch=16, rank=0, world=1):
    data = digits(spec)
    dataset = CaptionedDataset(data.train_source(), data.train_sample_builder())
    sampler = EpochSampler(len(dataset), batch, 0, rank, world)
    sampler.load_state_dict({"epoch": epoch, "consumed": consumed, "seed": 0, "size": len(dataset)})
    return ResumableLoader(dataset, sampler, collate_fn=Collate(True), num_workers=workers)


def same(first, second):
    tensors = ("images", "texts", "labels", "indices", "text_of")
    equal = all(torch.equal(getattr(first, name), getattr(second, name)) for name in tensors)
    return equal and first.unreadable == second.unreadable


def test_resumes_within_an_epoch_with_other_workers(spec):
    uninterrupted = loader(spec)
    batches = iter(uninterrupted)
    for _ in range(3):
        next(batches)
    state = uninterrupted.sampler.state_dict()
    remaining = [next(batches) for _ in range(3)]
    resumed = loader(spec, state["consumed"], state["epoch"], workers=2)
    for expected, actual in zip(remaining, resumed, strict=False):
        assert same(expected, actual)
    assert len(resumed) == len(uninterrupted)


def test_two_ranks_continue_as_one(spec):
    ranks = [iter(loader(spec, consumed=32, rank=rank, world=2)) for rank in range(2)]
    parts = [next(rank) for rank in ranks]
    joined = next(iter(loader(spec, consumed=32)))
    assert torch.equal(torch.cat([part.images for part in parts]), joined.images)
    assert torch.equal(torch.cat([part.indices for part in parts]), joined.indices)


def test_resuming_with_other_data_raises_an_error():
    sampler = EpochSampler(10, 5, seed=0)
    with pytest.raises(ValueError, match="size 12 and this run's size 10"):
        sampler.load_state_dict({"epoch": 0, "consumed": 5, "seed": 0, "size": 12})


@pytest.mark.parametrize("consumed", [4, 8])  # within an epoch, and at its end
def test_resuming_with_another_batch_size_raises_an_error(consumed):
    sampler = EpochSampler(10, 4, seed=0)
    sampler.consumed = consumed
    state = sampler.state_dict()
    with pytest.raises(ValueError, match="have batch_size 4 and this run's batch_size 5; resume with the same data"):
        EpochSampler(10, 5, seed=0).load_state_dict(state)
    del state["batch_size"]  # as in old checkpoints
    resumed = EpochSampler(10, 4, seed=0)
    resumed.load_state_dict(state)
    assert resumed.consumed == consumed


def test_captions_depend_on_the_epoch_and_the_index_alone(spec):
    table = CaptionTable(["one", "two"], ["a {c}.", "the {c}.", "{c}"], spec.tokenize)
    assert table.tokens.shape == (2, 3, 16)
    first, second = RawSample(b"", 0, "one.jpg"), RawSample(b"", 1, "two.jpg")
    draws = [tuple(table.of(first, sample_rng(0, epoch, 5)).tolist()) for epoch in range(20)]
    assert len(set(draws)) == 3
    assert torch.equal(table.of(second, sample_rng(0, 3, 5)), table.of(second, sample_rng(0, 3, 5)))
    numbers = [sample_rng(0, 0, index).random() for index in range(1000)]
    assert abs(np.mean(numbers) - 0.5) < 0.03
    assert len(set(numbers)) == 1000


def test_the_name_of_a_class_with_several_is_drawn_after_the_template(spec):
    plain = CaptionTable(["lion", "cat"], ["a {c}.", "the {c}.", "{c}"], spec.tokenize, ["big", "small"])
    several = CaptionTable(
        ["lion", ("cat", "pet", "animal")], ["a {c}.", "the {c}.", "{c}"], spec.tokenize, ["big", "small"]
    )
    for index in range(50):
        lion = RawSample(b"", 0, "lion.jpg", domain=index % 2)
        assert torch.equal(several.of(lion, sample_rng(0, 0, index)), plain.of(lion, sample_rng(0, 0, index)))
    cat = RawSample(b"", 1, "cat.jpg")
    counts = Counter(tuple(several.of(cat, sample_rng(0, 0, index)).tolist()) for index in range(900))
    assert len(counts) == 9
    assert all(60 <= count <= 140 for count in counts.values())


def test_templates_need_their_placeholder(spec):
    with pytest.raises(ValueError, match=r"template 'a photo' lacks the placeholder \{c\}"):
        CaptionTable(["one"], ["a photo"], spec.tokenize)
    with pytest.raises(ValueError, match="classnames and templates must not be empty, got 1 and 0"):
        CaptionTable(["one"], [], spec.tokenize)


def test_images_are_normalised_after_the_transfer(spec):
    data = digits(spec)
    batch = next(iter(data.val_dataloader()))
    assert batch.images.dtype == torch.uint8
    normalised = data.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(normalised.images, (batch.images / 255.0 - 0.5) / 0.5)


def test_one_generator_gives_the_random_numbers_of_all_samples():
    randomness = SampleRandomness(3)
    for epoch, index in [(0, 0), (1, 7), (0, 7), (2**40, 2**35)]:
        rng, expected = randomness.of(epoch, index), sample_rng(3, epoch, index)
        for _ in range(3):  # of all widths, so that half-used words are discarded
            assert rng.random() == expected.random()
            assert rng.integers(5) == expected.integers(5)
            assert rng.uniform(0.9, 1.0) == expected.uniform(0.9, 1.0)
        rng.integers(5)
