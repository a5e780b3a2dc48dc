"""Pairs in shards that are read as streams."""

import pytest

from tests.data.pairs.pair_files import pairs
from tests.data.shards.helpers import write
from tracer_lightning.data import StreamedPairsDataModule

STREAM = {"samples": None, "cache": False, "streams": 2, "shuffle_buffer": 12}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    write(folder, "train", 32, classes=[], caption="grey of level {}")
    write(folder, "val", 5, classes=[], caption="other grey of level {}")
    write(folder / "classes", "train", 16)
    return folder


def streamed(spec, root, **options):
    return pairs(spec, root, kind=StreamedPairsDataModule, **{**STREAM, "file": "train", "val": "val", **options})


def test_a_stream_has_every_pair_once(shards, spec):
    data = streamed(spec, shards)
    batches = list(data.train_loader())
    levels = [round(image.float().mean().item()) for batch in batches for image in batch.images]
    assert sorted(levels) == list(range(32))
    for batch in batches:
        for row, image in enumerate(batch.images):
            caption = spec.tokenize([f"grey of level {round(image.float().mean().item())}"])[0]
            tokens = batch.texts[row if batch.text_of is None else batch.text_of[row]]
            assert tokens.tolist() == caption[: len(tokens)].tolist()
    captions = sorted(data.captions(data.val_set))  # samples are shuffled when they are written
    assert captions == [(f"other grey of level {number}",) for number in range(5)]


def test_what_streams_lack_is_refused(shards, spec):
    with pytest.raises(ValueError, match="val must be a file of pairs, because no images can be held out of a stream"):
        streamed(spec, shards, val=None)
    with pytest.raises(ValueError, match="in_memory=True keeps images by their position"):
        streamed(spec, shards, in_memory=True)
    with pytest.raises(ValueError, match="has a sample with a class and no caption"):
        list(streamed(spec, shards, file="classes/train").train_loader())
    assert streamed(spec, shards, val=None, tests={"val": {"file": "val"}}).val_set.name == "val"
