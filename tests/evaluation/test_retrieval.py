"""Retrieval against CLIP_benchmark, on one process and on several."""

import io

import pytest
import torch
from rich.console import Console
from torch.nn.functional import normalize

from tests.ranks import run_ranks
from tracer_lightning.evaluation import RetrievalSuite, results_tables
from tracer_lightning.evaluation.retrieval_metrics import RetrievalMetrics
from tracer_lightning.scores import AVERAGE_OTHER
from tracer_lightning.types import Batch, CaptionTokens, ClassTexts, EvalSet

PAIRS = EvalSet("mine", "val", "id", samples=40, retrieval=True)
COUNTS = [1, 3, 2, 5] * 10
OWNERS = tuple(image for image, count in enumerate(COUNTS) for _ in range(count))


def features(rows, seed):
    return normalize(torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


class Model:
    """Captions and images have the features of a table, by their first token and first pixel."""

    head = None
    logit_scale = torch.tensor(10.0)

    def __init__(self):
        self.images = features(len(COUNTS), 0)
        self.texts = normalize(self.images[list(OWNERS)] + 1.5 * features(len(OWNERS), 1), dim=1)

    def encode_image(self, images):
        return self.images[images[:, 0, 0, 0].long()]

    def encode_text(self, tokens):
        return self.texts[tokens[:, 0]]


CAPTIONS = CaptionTokens(torch.arange(len(OWNERS))[:, None], OWNERS)


def batches(indices, size=7):
    """Images whose first pixel is their index, padded to whole batches."""
    padded = [*indices, *[-1] * (-len(indices) % size)]
    for start in range(0, len(padded), size):
        places = torch.tensor(padded[start : start + size])
        images = places.clamp(min=0)[:, None, None, None].expand(-1, 3, 2, 2).float()
        yield Batch(images, torch.zeros(size, 0).long(), torch.full((size,), -1), places)


def scored(indices, models=("student",)):
    suite = RetrievalSuite([PAIRS], {PAIRS: CAPTIONS}, models)
    suite.start(dict.fromkeys(models, Model()))
    for batch in batches(indices):
        suite.update(batch, 0)
    return suite, suite.finish()["student"]["mine"]


def test_recall_equals_that_of_clip_benchmark():
    benchmark = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    texts = [[str(text) for text, owner in enumerate(OWNERS) if owner == image] for image in range(len(COUNTS))]
    images = torch.arange(len(COUNTS))[:, None, None, None].expand(-1, 3, 2, 2).float()
    loader = [(images[start : start + 8], texts[start : start + 8]) for start in range(0, len(COUNTS), 8)]
    tokenize = lambda captions: torch.tensor([[int(caption)] for caption in captions])  # noqa: E731
    theirs = benchmark.evaluate(Model(), loader, tokenize, "cpu", amp=False, recall_k_list=[1, 5, 10])
    _, ours = scored(range(len(COUNTS)))
    for k in (1, 5, 10):
        assert ours[f"i2t_recall_at_{k}"] == pytest.approx(theirs[f"text_retrieval_recall@{k}"], abs=1e-7)
        assert ours[f"t2i_recall_at_{k}"] == pytest.approx(theirs[f"image_retrieval_recall@{k}"], abs=1e-7)
    assert 0 < ours["t2i_recall_at_1"] < ours["t2i_recall_at_10"] < 1
    assert ours["recall_at_1"] == (ours["i2t_recall_at_1"] + ours["t2i_recall_at_1"]) / 2
    assert ours["n"] == len(COUNTS)


def test_median_ranks_and_details_are_those_of_the_ranks():
    suite, scores = scored(range(len(COUNTS)))
    model = Model()
    ranks = 1 + (model.texts @ model.images.T).argsort(dim=1, descending=True).argsort(dim=1)
    ranks = ranks[torch.arange(len(OWNERS)), list(OWNERS)]
    assert scores["t2i_median_rank"] == ranks.double().quantile(0.5)
    details = suite.details["student"]["mine"]
    assert details["ranks"]["t2i"]["upper"] == [1, 2, 5, 10, 20, 40]
    assert details["ranks"]["t2i"]["n"][0] == (ranks == 1).sum()
    assert sum(details["ranks"]["i2t"]["n"]) == len(COUNTS)
    number, rank, found = details["worst"]["t2i"][0]
    assert rank == ranks.max() == ranks[number]
    assert found == (model.texts[number] @ model.images.T).argmax()


def test_images_that_could_not_be_read_are_left_out_with_their_captions():
    kept = [index for index in range(len(COUNTS)) if index % 3]
    _, scores = scored(kept)
    model, captions = Model(), [text for text, owner in enumerate(OWNERS) if owner in kept]
    best = (model.texts[captions] @ model.images[kept].T).argmax(dim=1).tolist()
    hits = [kept[place] == OWNERS[text] for place, text in zip(best, captions, strict=True)]
    assert scores["n"] == len(kept)
    assert scores["t2i_recall_at_1"] == pytest.approx(sum(hits) / len(hits))


def test_one_image_with_one_caption_is_a_set():
    _, scores = scored([0])
    assert (scores["n"], scores["recall_at_1"], scores["t2i_median_rank"]) == (1, 1.0, 1.0)


def test_a_set_without_readable_images_has_no_scores():
    suite, scores = scored([-1])
    assert scores["n"] == 0
    assert {value for name, value in scores.items() if name not in ("n", "split", "role")} == {None}
    assert suite.tables({"student": {"mine": scores}})


def one_of_several_ranks(rank, world, folder):
    torch.set_num_threads(1)
    address = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    metrics = RetrievalMetrics(CAPTIONS)
    metrics.start(Model())
    share = -(-len(COUNTS) // world)
    own = list(range(len(COUNTS)))[rank::world]
    for batch in batches([*own, *[-1] * (share - len(own))]):
        metrics.update(Model().encode_image(batch.images), batch.indices)
    torch.save(metrics.compute()[0], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_several_ranks_have_the_scores_of_one(tmp_path, world):
    run_ranks(one_of_several_ranks, (world, tmp_path), world)
    _, alone = scored(range(len(COUNTS)))
    for rank in range(world):
        scores = torch.load(tmp_path / f"{rank}.pt")
        assert scores == {name: alone[name] for name in scores}


BIRDS = EvalSet("birds", "test", "other", texts=ClassTexts(("owl", "wren"), ("a {c}.",)))


def test_labelled_sets_are_classified_beside():
    far = EvalSet("far", "test", "other", retrieval=True)
    captions = {PAIRS: CAPTIONS, far: CAPTIONS}
    suite = RetrievalSuite([PAIRS, far, BIRDS], captions, own_prompts={"birds": torch.tensor([[[0]], [[9]]])})
    suite.start({"student": Model()})
    for place in (0, 1):
        for batch in batches(range(len(COUNTS))):
            suite.update(batch, place)
    for batch in batches([0, OWNERS[9]]):
        labels = torch.where(batch.indices < 0, -1, (batch.indices > 0).long())
        suite.update(batch._replace(labels=labels), 2)
    scores = suite.finish()["student"]
    assert scores["birds"]["accuracy"] == 1.0
    assert "accuracy" not in scores["mine"]
    assert "recall_at_1" not in scores["birds"]
    assert scores[AVERAGE_OTHER]["sets"] == ["far", "birds"]
    assert scores[AVERAGE_OTHER]["recall_at_1"] == scores["far"]["recall_at_1"]
    assert scores[AVERAGE_OTHER]["ece"] == scores["birds"]["ece"]
    assert not suite.state_dict()
    console = Console(file=io.StringIO(), width=120)
    tables = results_tables("demo", {"student": scores}, "recall_at_1", suite.metrics)
    for table in (*tables, *suite.tables({"student": scores})):
        console.print(table)
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert "data set role n R@1 i2t t2i" in lines
    assert "data set role n acc ECE F1" in lines
    assert any(line.startswith("mine image-to-text student") for line in lines)


def test_two_sets_of_one_name_are_refused():
    with pytest.raises(ValueError, match="eval_sets: two sets, or a set and their average, are named mine; rename one"):
        RetrievalSuite([PAIRS, BIRDS._replace(name="mine")], {PAIRS: CAPTIONS})
