"""Epochs of (image, template) rows, as the released code draws them."""

import pytest
import torch

from tests.conftest import tiny_backbone
from tests.data.core.test_loading import digits, same
from tracer_lightning.data.core.sampler import RowSampler


@pytest.fixture(scope="module")
def spec():
    return tiny_backbone().spec


def rows(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [row for batch in sampler for _, row in batch]


def test_epochs_on_imagenet_have_the_length_of_the_released_code():
    sampler = RowSampler(1_281_167, 86, 512, 0)
    assert len(sampler) == 2503
    sampler.consumed = 2502 * 512
    (last,) = sampler
    assert len(last) == 512


def test_no_row_repeats_before_all_are_drawn():
    sampler = RowSampler(10, 3, 4, 0)  # 3 batches, 12 rows an epoch, of 30
    sequence = [row for epoch in range(5) for row in rows(sampler, epoch)]
    assert sorted(sequence[:30]) == sorted(sequence[30:]) == list(range(30))
    assert sequence[:30] != sequence[30:]
    assert sequence != [row for epoch in range(5) for row in rows(RowSampler(10, 3, 4, 1), epoch)]


@pytest.mark.parametrize("epoch", [0, 2])  # in the third, batches are of two permutations
def test_ranks_share_the_global_batches(epoch):
    def batches(*share):
        sampler = RowSampler(10, 3, 4, 0, *share)
        sampler.set_epoch(epoch)
        return list(sampler)

    parts = [batches(rank, 2) for rank in range(2)]
    assert [first + second for first, second in zip(*parts, strict=True)] == batches()


def test_an_image_has_the_template_of_its_row(spec):
    data = digits(spec)
    data.draw_image_template_pairs()
    loader = data.train_loader()
    table = data.train_sample_builder().captions
    assert table.templates > 1
    keys = [key for batch in loader.sampler for key in batch]
    batches = list(loader)
    assert len(batches) == len(loader) == -(-data.set_size(None) // 64)
    texts = torch.cat([batch.texts[batch.text_of] for batch in batches])
    labels, indices = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("labels", "indices"))
    assert indices.tolist() == [row // table.templates for _, row in keys]
    for text, label, (_, row) in zip(texts, labels, keys, strict=True):
        assert torch.equal(text, table.tokens[label, row % table.templates][: len(text)])


def test_rows_resume_at_any_batch_and_only_with_rows(spec):
    def loader(draws_rows=True):
        data = digits(spec)
        if draws_rows:
            data.draw_image_template_pairs()
        return data.train_loader()

    uninterrupted = loader()
    uninterrupted.sampler.set_epoch(1)
    batches = iter(uninterrupted)
    for _ in range(3):
        next(batches)
    state = uninterrupted.sampler.state_dict()
    resumed = loader()
    resumed.sampler.load_state_dict(state)
    for expected, actual in zip(batches, resumed, strict=True):
        assert same(expected, actual)
    with pytest.raises(ValueError, match="rows"):
        loader(draws_rows=False).sampler.load_state_dict(state)
