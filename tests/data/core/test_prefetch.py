import pytest
from torch.utils.data import DataLoader

from tracer_lightning.data.core.prefetch import PrefetchNextLoader, prefetch_next


class RecordingLoader:
    """Loader that records when it is opened."""

    def __init__(self, name, length, events):
        self.name, self.length, self.events = name, length, events

    def __len__(self):
        return self.length

    def __iter__(self):
        self.events.append(f"open {self.name}")
        return iter([f"{self.name}{number}" for number in range(self.length)])


def order(lengths, ahead):
    events = []
    for loader in prefetch_next(
        [RecordingLoader(name, length, events) for name, length in zip("abc", lengths, strict=False)], ahead
    ):
        events.extend(loader)
    return events


def test_the_next_loader_is_opened_before_the_last_batches():
    assert order([3, 2], ahead=2) == ["open a", "a0", "open b", "a1", "a2", "b0", "b1"]


def test_loaders_without_workers_are_opened_in_turn():
    assert order([2, 1], ahead=0) == ["open a", "a0", "a1", "open b", "b0"]


def test_each_loader_is_opened_once_and_may_be_read_again():
    events = []
    chained = prefetch_next([RecordingLoader("a", 1, events), RecordingLoader("b", 2, events)], 4)
    for _ in range(2):
        assert [batch for loader in chained for batch in loader] == ["a0", "b0", "b1"]
    assert events == ["open a", "open b"] * 2


def test_loaders_of_unknown_length_are_unchanged():
    unsized = iter([1])
    chained = prefetch_next([DataLoader([1, 2]), unsized, DataLoader([3])], 2)
    assert chained[1] is unsized
    assert chained[0].following is chained[2]
    assert [len(chained[0]), len(chained[2])] == [2, 1]


@pytest.mark.parametrize("workers", [0, 1])
def test_chained_loaders_yield_the_same_batches(workers):
    loaders = [DataLoader(range(start, start + 5), batch_size=2, num_workers=workers) for start in (0, 10)]
    expected = [batch.tolist() for loader in loaders for batch in loader]
    assert [batch.tolist() for loader in prefetch_next(loaders, 2 * workers) for batch in loader] == expected
    assert isinstance(prefetch_next(loaders, 2)[0], PrefetchNextLoader)
