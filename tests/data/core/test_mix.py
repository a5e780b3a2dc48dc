"""Auxiliary sets in training batches."""

from collections import Counter

import numpy as np
import pytest
import torch

from tests.vector_family.family import VectorDataModule
from tracer_lightning.data.core.mix import Mix, MixedDataset, MixedSampler
from tracer_lightning.data.core.sampler import EpochSampler

SIZE, BATCH = 1000, 20
SIZES = {"web": 300, "news": 100}


def sampler(ratio=0.5, level="sample", weights=None, sizes=SIZES, seed=0, epoch=0, consumed=0, rank=0, world=1):
    mix = Mix(sizes, ratio, level, weights)
    mixed = MixedSampler(mix, sizes, SIZE, BATCH, seed, rank, world)
    mixed.set_epoch(epoch)
    mixed.consumed = consumed
    return mixed


def keys(mixed):
    return [key for batch in mixed for key in batch]


def source(index):
    return "main" if index < SIZE else "web" if index < SIZE + SIZES["web"] else "news"


@pytest.mark.parametrize("level", ["sample", "batch"])
def test_auxiliary_sets_have_their_share(level):
    epochs = 40
    for ratio, weights, expected in (
        (0.5, None, {"main": 0.5, "web": 0.375, "news": 0.125}),
        (0.25, {"web": 1.0, "news": 4.0}, {"main": 0.75, "web": 0.05, "news": 0.2}),
        (0.25, {"web": 0.0, "news": 0.1}, {"main": 0.75, "web": 0.0, "news": 0.25}),
    ):
        counts = Counter(
            source(index) for epoch in range(epochs) for _, index in keys(sampler(ratio, level, weights, epoch=epoch))
        )
        draws = epochs * SIZE / (BATCH if level == "batch" else 1)
        for name, share in expected.items():
            fraction = counts[name] / (epochs * SIZE)
            assert abs(fraction - share) <= 3 * np.sqrt(share * (1 - share) / draws)


def test_batches_are_of_one_source_at_their_level():
    batches = [{source(index) for _, index in batch} for batch in sampler(level="batch")]
    assert all(len(sources) == 1 for sources in batches)
    assert set.union(*batches) == {"main", *SIZES}
    assert any(len({source(index) for _, index in batch}) == 3 for batch in sampler(level="sample"))


@pytest.mark.parametrize("level", ["sample", "batch"])
def test_the_order_depends_on_seed_and_epoch(level):
    order = keys(sampler(level=level))
    assert order == keys(sampler(level=level))
    assert order != keys(sampler(level=level, seed=1))
    assert [index for _, index in order] != [index for _, index in keys(sampler(level=level, epoch=1))]
    assert len(order) == len(sampler()) * BATCH == SIZE


def test_without_reshuffling_every_epoch_has_the_same_samples():
    first, second = sampler(), sampler(epoch=1)
    first.reshuffle = second.reshuffle = False
    assert [index for _, index in keys(first)] == [index for _, index in keys(second)]


@pytest.mark.parametrize("level", ["sample", "batch"])
def test_main_samples_are_the_first_ones_of_the_usual_permutation(level):
    usual = [index for batch in EpochSampler(SIZE, BATCH, 3) for _, index in batch]
    main = [index for _, index in keys(sampler(level=level, seed=3)) if index < SIZE]
    assert main == usual[: len(main)]
    assert list(sampler(0.0, level, seed=3)) == list(EpochSampler(SIZE, BATCH, 3))


@pytest.mark.parametrize("level", ["sample", "batch"])
def test_auxiliary_sets_are_passed_through_in_permutations(level):
    """The set is repeated within an epoch, with other keys."""
    size = 45
    drawn_in_pass = 40 if level == "batch" else size
    order = [
        (epoch, index) for epoch, index in keys(sampler(0.9, level, sizes={"web": size}, epoch=2)) if index >= SIZE
    ]
    passes = [order[start : start + drawn_in_pass] for start in range(0, len(order), drawn_in_pass)]
    assert len(passes) > 3
    for part in passes[:-1]:
        assert len({index for _, index in part}) == drawn_in_pass
        assert len({epoch for epoch, _ in part}) == 1
    assert len({tuple(index for _, index in part) for part in passes}) == len(passes)
    assert len(set(order)) == len(order)
    next_epoch = keys(sampler(0.9, level, sizes={"web": size}, epoch=3))
    assert not {key for key in next_epoch if key[1] >= SIZE} & set(order)
    if level == "batch":
        assert all(len({index for _, index in batch}) == BATCH for batch in sampler(0.9, level, sizes={"web": size}))


@pytest.mark.parametrize("level", ["sample", "batch"])
def test_ranks_share_the_global_batches(level):
    ranks = [list(sampler(level=level, rank=rank, world=4)) for rank in range(4)]
    for number, batch in enumerate(sampler(level=level)):
        assert [key for rank in ranks for key in rank[number]] == batch


@pytest.mark.parametrize("level", ["sample", "batch"])
def test_resumes_within_an_epoch(level):
    resumed = sampler(level=level, rank=1, world=2)
    resumed.load_state_dict(sampler(level=level, epoch=4, consumed=160).state_dict())
    unbroken = list(sampler(level=level, epoch=4, rank=1, world=2))
    assert list(resumed) == unbroken[8:]


@pytest.mark.parametrize("options", [{"ratio": 0.4}, {"level": "batch"}, {"weights": {"web": 1.0, "news": 1.0}}])
def test_resuming_with_another_mix_raises_an_error(options):
    with pytest.raises(ValueError, match=r"training data have mix \{'ratio': 0\.5.*this run's mix \{'ratio'"):
        sampler(**options).load_state_dict(sampler().state_dict())
    with pytest.raises(ValueError, match=r"training data have mix \{'ratio': 0\.5.*this run's mix None"):
        EpochSampler(SIZE, BATCH, 0).load_state_dict(sampler().state_dict())


def test_consumed_auxiliary_samples_are_counted():
    mixed = sampler(consumed=200)
    assert mixed.count_auxiliary() == sum(index >= SIZE for _, index in keys(sampler())[:200])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 1.0}, r"ratio must lie in \[0, 1\), got 1.0"),
        ({"ratio": -0.1}, r"ratio must lie in \[0, 1\), got -0.1"),
        ({"ratio": float("nan")}, r"ratio must lie in \[0, 1\), got nan"),
        ({"level": "token"}, "level must be one of sample, batch, got 'token'"),
        ({"sizes": {}}, "sets must name at least one auxiliary set, got none"),
        ({"weights": {"web": 1.0, "new": 1.0}}, "weights names the unknown set new; it must have one number for each"),
        ({"weights": {"web": 1.0}}, "weights lacks news; it must have one number for each of web, news"),
        ({"weights": {"web": -1.0, "news": 1.0}}, "weights.web must be a number >= 0, got -1.0"),
        ({"weights": {"web": 0.0, "news": 0.0}}, "weights must not all be 0; give at least one set a positive weight"),
        ({"sizes": {"web": 0}}, "mix.sets.web has 0 samples, and a set must not be empty"),
        ({"sizes": {"web": 19}, "level": "batch"}, "mix.sets.web has 19 samples, and a batch has 20"),
        ({"ratio": 0.01, "level": "batch"}, "mix.ratio=0.01 of the 50 batches of an epoch is less than one batch"),
    ],
)
def test_an_invalid_mix_raises_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        sampler(**arguments)


def test_datasets_give_the_samples_of_their_keys():
    class Letters(list):
        def __getitem__(self, key):
            epoch, index = key
            return f"{super().__getitem__(index)}{epoch}"

    dataset = MixedDataset([Letters("abc"), Letters("XY")])
    assert len(dataset) == 5
    assert dataset.__getitems__([(0, 4), (1, 0), (2, 3), (3, 2)]) == ["Y0", "a1", "X2", "c3"]
    assert dataset[5, 3] == "X5"


def vectors(samples, **options):
    return VectorDataModule(samples, spec=3, batch_size=16, eval_batch_size=8, num_workers=0, seed=0, **options)


def test_a_family_of_ones_own_mixes_samples_by_default():
    data, plain = vectors(64), vectors(64)
    data.mix_in({"more": vectors(96, evaluates=False)}, ratio=0.5)
    assert data.mix.level == "sample"
    main, auxiliary = (
        {tuple(row) for row in module.train_dataset().inputs.tolist()} for module in (plain, data.mix.sets["more"])
    )
    auxiliary -= main
    loader = data.train_dataloader()
    assert len(loader) == len(plain.train_dataloader()) == 4
    rows = [tuple(row) for batch in loader for row in batch.inputs.tolist()]
    assert {row in main for row in rows} == {True, False}
    assert set(rows) <= main | auxiliary
    assert data.epoch_counts() == {"auxiliary_samples": loader.sampler.count_auxiliary()}
    assert plain.epoch_counts() == {}


def test_a_ratio_of_0_changes_no_batch():
    data, plain = vectors(64), vectors(64)
    data.mix_in({"more": vectors(96, evaluates=False)}, ratio=0)
    for mixed, expected in zip(data.train_dataloader(), plain.train_dataloader(), strict=True):
        assert torch.equal(mixed.inputs, expected.inputs)


def test_only_training_batches_have_auxiliary_samples():
    data, plain = vectors(64), vectors(64)
    data.mix_in({"more": vectors(96, evaluates=False)}, ratio=0.9)
    data.plain_dataset, plain.plain_dataset = data.train_dataset, plain.train_dataset
    loaders = [module.predict_dataloader() for module in (data, plain)]
    loaders += [module.val_dataloader() for module in (data, plain)]
    batches = [torch.cat([batch.inputs for batch in loader]) for loader in loaders]
    assert torch.equal(batches[0], batches[1])
    assert torch.equal(batches[2], batches[3])
