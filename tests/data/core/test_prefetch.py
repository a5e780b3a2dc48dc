import pytest
from torch.utils.data import DataLoader

from tracer_lightning.data.core.prefetch import PrefetchNextLoader, prefetch_next


class Noted:
    """Remembers when it was opened and what was taken."""

    def __init__(self, name, length, events):
        self.name, self.length, self.events = name, length, events

    def __len__(self):
        return self.length

    def __iter__(self):
        self.events.append(f"open {self.name}")
        return iter([f"{self.name}{number}" for number in range(self.length)])


def order(lengths, ahead):
    events = []
    for relay in prefetch_next([Noted("abc"[place], length, events) for place, length in enumerate(lengths)], ahead):
        events.extend(relay)
    return events


def test_the_next_is_opened_before_the_last_batches():
    assert order([3, 2], ahead=2) == ["open a", "a0", "open b", "a1", "a2", "b0", "b1"]


def test_loading_in_the_process_itself_opens_each_in_its_turn():
    assert order([2, 1], ahead=0) == ["open a", "a0", "a1", "open b", "b0"]


def test_each_is_opened_once_and_may_be_read_again():
    events = []
    relays = prefetch_next([Noted("a", 1, events), Noted("b", 2, events)], 4)
    for _ in range(2):
        assert [batch for relay in relays for batch in relay] == ["a0", "b0", "b1"]
    assert events == ["open a", "open b"] * 2


def test_loaders_of_unknown_length_stay_as_they_are():
    unsized = iter([1])
    found = prefetch_next([DataLoader([1, 2]), unsized, DataLoader([3])], 2)
    assert found[1] is unsized
    assert found[0].following is found[2]
    assert [len(found[0]), len(found[2])] == [2, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_real_loaders_give_the_same(workers):
    loaders = [DataLoader(range(start, start + 5), batch_size=2, num_workers=workers) for start in (0, 10)]
    plain = [batch.tolist() for loader in loaders for batch in loader]
    assert [batch.tolist() for relay in prefetch_next(loaders, 2 * workers) for batch in relay] == plain
    assert isinstance(prefetch_next(loaders, 2)[0], PrefetchNextLoader)
