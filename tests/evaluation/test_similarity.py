import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.functional.test_representations import alignment, random, svcca, with_kernels
from tracer_lightning.evaluation.similarity import CHUNK, SimilaritySums, text_similarity


def outputs(n=60, seed=0):
    """Two models of three and two blocks, in single precision, with means far from zero."""
    x, y = random(n, seed=seed)
    z, _ = random(n, seed=seed + 1)
    first = {"1": x, "2": x**2, "features": z + x}
    return {
        "a": {k: v.float() + 30 for k, v in first.items()},
        "b": {"1": y.float(), "features": (y + 2).float().exp()},
    }


def matrix(values):
    return torch.tensor(values, dtype=torch.double)


def split(values, size):
    models = {model: {name: value.split(size) for name, value in blocks.items()} for model, blocks in values.items()}
    count = len(models["a"]["1"])
    return [
        {model: {name: value[number] for name, value in blocks.items()} for model, blocks in models.items()}
        for number in range(count)
    ]


def compared(batches, pairs=(("a", "b"),)):
    sums = SimilaritySums(pairs)
    for batch in batches:
        sums.update(batch)
    return sums.compute()


def each(values, measure):
    return [
        [measure(first.double(), second.double()) for second in values["b"].values()] for first in values["a"].values()
    ]


@pytest.mark.parametrize("size", [60, 13])
def test_every_block_is_compared_with_every_other_on_all_inputs(size):
    values = outputs()
    result = compared(split(values, size))["a", "b"]
    assert (result.first, result.second, result.n) == (["1", "2", "features"], ["1", "features"], 60)
    torch.testing.assert_close(matrix(result.cka), matrix(each(values, alignment)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(matrix(result.svcca), matrix(each(values, svcca)), rtol=1e-5, atol=1e-6)


def test_one_minibatch_is_all_inputs_and_several_are_averaged():
    values = outputs()
    full, parts = (compared(split(values, size))["a", "b"] for size in (60, 25))
    torch.testing.assert_close(matrix(full.cka_minibatch), matrix(full.cka))
    x, y = values["a"]["2"].double(), values["b"]["1"].double()
    weights = torch.tensor([25.0, 25, 10]).double() / 60

    def mean(first, second):
        batches = [with_kernels(a, b) for a, b in zip(first.split(25), second.split(25), strict=True)]
        return float(weights @ torch.stack(batches))

    expected = mean(x, y) / (mean(x, x) * mean(y, y)) ** 0.5
    assert parts.cka_minibatch[1][0] == pytest.approx(expected, rel=1e-4)
    assert abs(parts.cka_minibatch[1][0] - parts.cka[1][0]) > 1e-4


def test_the_other_way_round_everything_is_transposed_and_a_model_is_like_itself():
    result = compared(split(outputs(), 25), [("a", "b"), ("b", "a"), ("a", "a")])
    first, second, same = result.values()
    for measure in ("cka", "cka_minibatch", "svcca"):
        torch.testing.assert_close(matrix(getattr(first, measure)).T, matrix(getattr(second, measure)))
        torch.testing.assert_close(matrix(getattr(same, measure)).diag(), torch.ones(3).double())
    assert first.directions == second.directions[::-1]


def test_padding_does_not_count():
    values = outputs()
    expected = compared(split(values, 60))["a", "b"]
    padded = {
        model: {name: torch.cat([value, 1e6 * value[:5]]) for name, value in blocks.items()}
        for model, blocks in values.items()
    }
    sums = SimilaritySums([("a", "b")])
    sums.update(padded, torch.arange(65) < 60)
    sums.update(padded, torch.zeros(65, dtype=torch.bool))
    result = sums.compute()["a", "b"]
    assert result.n == 60
    torch.testing.assert_close(matrix(result.cka), matrix(expected.cka), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(matrix(result.svcca), matrix(expected.svcca), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(matrix(result.cka_minibatch), matrix(result.cka))


def test_two_processes_agree_with_a_single_process():
    """Ranks are threads; the second ends with a batch of padding."""
    values, barrier, arguments = outputs(), threading.Barrier(2, timeout=20), {}

    def part(rank):
        def reduce(value, how):
            arguments[rank] = value
            barrier.wait()
            total = arguments[0] + arguments[1]
            barrier.wait()
            return total / 2 if how == "mean" else total

        sums = SimilaritySums([("a", "b")], reduce)
        for number, batch in enumerate(split(values, 15)[rank::2]):
            sums.update(batch, torch.full((15,), (rank, number) != (1, 1)))
        return sums.compute()["a", "b"]

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(part, (0, 1))
    assert first == second
    firsts = {model: {name: value[:45] for name, value in blocks.items()} for model, blocks in values.items()}
    expected = compared(split(firsts, 15))["a", "b"]
    for measure in ("cka", "cka_minibatch", "svcca"):
        torch.testing.assert_close(matrix(getattr(first, measure)), matrix(getattr(expected, measure)))


def test_precision_is_kept_far_from_the_origin():
    x, y = random(200)
    result = compared([{"a": {"1": x + 1e6}, "b": {"1": y - 1e6}}])["a", "b"]
    assert result.cka[0][0] == pytest.approx(alignment(x, y), rel=1e-6)


def test_what_chance_finds_is_told():
    result = [compared([{"a": {"1": random(n)[0]}, "b": {"1": random(n, seed=1)[1]}}])["a", "b"] for n in (60, 6000)]
    for similarity in result:
        assert 0.5 * similarity.chance < similarity.svcca[0][0] < 1.5 * similarity.chance
    assert result[0].chance == pytest.approx(10 * result[1].chance, rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"), [(3, "there are 3 inputs, and the unbiased"), (float("nan"), "are not finite")]
)
def test_incomparable_runs_raise_errors(change, message):
    values = outputs(change) if change == 3 else {m: {"1": v["1"] * change} for m, v in outputs().items()}
    with pytest.raises(ValueError, match=message):
        compared([values])


def test_constant_outputs_have_no_similarity():
    values = {"a": {"1": torch.ones(10, 3)}, "b": {"1": torch.randn(10, 3)}}
    result = compared([values])["a", "b"]
    assert (result.cka, result.cka_minibatch, result.svcca) == ([[None]], [[None]], [[None]])


def test_texts_are_encoded_in_chunks():
    sizes = []

    def model(tokens):
        sizes.append(len(tokens))
        return {"1": tokens.float(), "features": tokens.float() ** 2}

    texts = torch.randint(0, 9, (CHUNK + 76, 4), generator=torch.Generator().manual_seed(0))
    result = text_similarity({"a": model, "b": model}, [("a", "b")], texts)["a", "b"]
    assert sizes == [CHUNK, CHUNK, 76, 76]
    assert result.cka[1][0] == pytest.approx(alignment(texts.double() ** 2, texts.double()))
