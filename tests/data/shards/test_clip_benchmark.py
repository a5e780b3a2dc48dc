"""clip_benchmark's own reader reads the shards that we write, and we read the shards that it reads."""

import numpy as np
import pytest
import torch

from tests.data.shards.helpers import CLASSES, SHARED, shards, write

SUITE = {"set": {"folder": "pets", "split": "test", "role": "id"}}


def their_set(root, split):
    builder = pytest.importorskip("clip_benchmark.datasets.builder")
    return builder.build_dataset(
        "wds/pets", root=str(root), split=split, transform=None, download=False, task="zeroshot_classification"
    )


def as_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.slow
def test_clip_benchmark_reads_our_shards(tmp_path):
    write(tmp_path / "pets", "test", 20)
    write(tmp_path / "pets", "train", 11)
    theirs = their_set(tmp_path / "pets", "test")
    assert theirs.classes == CLASSES
    assert theirs.templates == ["a {c}."]
    data = shards(tmp_path, suite=SUITE, train={"folder": "pets", "split": "train"})
    ours = data.eval_source(data.eval_sets[0])
    samples = list(theirs)
    assert len(samples) == len(ours) == 20
    for position, (image, label) in enumerate(samples):
        assert ours[position].label == label
        assert (as_tensor(image) == as_tensor(image)[0, 0, 0]).all()
        assert label == int(as_tensor(image)[0, 0, 0]) % 3


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "pacs_photo").is_dir(), reason="needs the PACS shards")
def test_our_reader_agrees_with_clip_benchmark(tmp_path):
    theirs = list(their_set(SHARED / "pacs_photo", "test"))
    suite = {"photo": {"folder": "pacs_photo", "split": "test", "role": "id"}}
    train = {"folder": "pacs_photo", "split": "train"}
    data = shards(SHARED, suite=suite, train=train, cache_dir=str(tmp_path), eval_decoder="pil")
    ours = data.eval_source(data.eval_sets[0])
    assert len(ours) == len(theirs) == 334
    crop = data.eval_transform(data.eval_sets[0])
    crop.size, crop.resize_to = [112, 112], [112]
    for position in range(0, 334, 37):
        image, label = theirs[position]
        assert ours[position].label == label
        assert torch.equal(crop(ours[position].data, np.random.default_rng(0)), as_tensor(image))
