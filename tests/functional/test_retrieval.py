import torch
from torch.nn.functional import normalize

from tracer_lightning.functional.retrieval import SCORES, match_ranks


def naive(scores, first, count):
    """Rank of the best match in a stable descending order of each row."""
    ranks = []
    for row, begin, length in zip(scores, first.tolist(), count.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda place: -row[place].item())
        ranks.append(1 + min(order.index(match) for match in range(begin, begin + length)))
    return ranks


def test_ranks_equal_those_of_sorted_scores():
    generator = torch.Generator().manual_seed(0)
    queries, candidates = (normalize(torch.randn(n, 4, generator=generator), dim=1) for n in (9, 20))
    first, count = torch.arange(9) * 2, torch.tensor([1, 2, 1, 2, 2, 1, 1, 2, 2])
    assert match_ranks(queries, candidates, first, count).tolist() == naive(queries @ candidates.T, first, count)


def test_the_hand_computed_example():
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    candidates = torch.tensor([[0.1, 0.0], [0.2, 0.0], [0.9, 0.3], [0.0, 0.2]])
    ranks = match_ranks(queries, candidates, torch.tensor([0, 2]), torch.tensor([2, 2]))
    assert ranks.tolist() == [2, 1]  # 0.2 behind 0.9; 0.3 before all


def test_constant_features_have_the_recall_of_chance():
    ranks = match_ranks(torch.ones(50, 3), torch.ones(50, 3), torch.arange(50), torch.ones(50, dtype=torch.long))
    assert ranks.tolist() == list(range(1, 51))


def test_features_that_are_no_numbers_match_worst():
    first, count = torch.arange(6), torch.ones(6, dtype=torch.long)
    nothing = torch.full((6, 3), torch.nan)
    assert match_ranks(nothing, nothing, first, count).tolist() == [1, 2, 3, 4, 5, 6]
    queries, candidates = torch.eye(6), torch.eye(6)
    queries[3] = candidates[1] = torch.nan
    assert match_ranks(queries, candidates, first, count).tolist() == [1, 6, 1, 4, 1, 1]


def test_ranks_do_not_depend_on_chunks():
    """With 1,500 candidates, 1,500 queries are two chunks; every third candidate has the same direction."""
    features = torch.eye(3)[torch.arange(1500) % 3] * torch.linspace(1, 2, 1500)[:, None]
    assert len(features) ** 2 > SCORES
    first, count = torch.arange(1500), torch.ones(1500, dtype=torch.long)
    parts = zip(features.split(100), first.split(100), count.split(100), strict=True)
    split = [match_ranks(queries, features, begin, length) for queries, begin, length in parts]
    assert torch.equal(match_ranks(features, features, first, count), torch.cat(split))
