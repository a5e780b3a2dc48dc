"""Captions made of labelled shards say what the images show."""

import functools

import numpy as np

from scripts import make_pairs
from tests.images import encode
from tracer_lightning.data.pairs.columns import Columns
from tracer_lightning.data.pairs.files import PairFiles, PairLocation
from tracer_lightning.data.shards.packing import SourceSample
from tracer_lightning.data.shards.writer import SampleCollection, write_shards
from tracer_lightning.storage.shard_layout import ShardLayout

BLUE, GREEN, WHITE = (75, 105, 170), (90, 120, 65), (250, 250, 250)


def image(above, below, form="PNG"):
    """An image with a red disc in the middle, which is no background."""
    pixels = np.full((40, 48, 3), below, np.uint8)
    pixels[:20] = above
    rows, columns = np.ogrid[:40, :48]
    pixels[(rows - 20) ** 2 + (columns - 24) ** 2 < 15**2] = (200, 0, 0)
    return encode(pixels, form)


def write(root, split, images):
    """Shards of images with the classes owl, cat, owl, ..."""
    samples = [
        SourceSample(functools.partial(bytes, data), f"image {number}", "png", number % 2)
        for number, data in enumerate(images)
    ]
    write_shards(SampleCollection(samples, ["owl", "cat"]), root, split, ["a {c}."], ShardLayout(max_samples=2))
    return root


def test_captions_have_domain_class_and_colours(tmp_path, capsys):
    images = [image(BLUE, GREEN), image(WHITE, WHITE, "JPEG"), image(GREEN, BLUE)]
    photos, paintings = write(tmp_path / "a", "train", images), write(tmp_path / "b", "train", images[:1])
    write(photos, "test", images[1:])
    out = tmp_path / "pairs"
    assert make_pairs.main([f"photo={photos}", f"oil painting={paintings}", "--out", str(out)]) == 0
    assert f"{out}/train.csv: 4 images, 4 different captions" in capsys.readouterr().out.replace("\n", "")
    files = PairFiles(str(out), Columns(), tmp_path / "cache", max_bad_fraction=0.0)
    source = files.open(PairLocation("train.csv"))
    captions = {source.captions(index): source[index].data for index in range(len(source))}
    assert captions == {
        ("a photo of an owl, blue above and green below",): images[0],
        ("a photo of a cat on a white background",): images[1],
        ("a photo of an owl, green above and blue below",): images[2],
        ("an oil painting of an owl, blue above and green below",): images[0],
    }
    assert len(files.open(PairLocation("test.csv"))) == 2


def test_arguments_without_shards_are_refused(tmp_path, capsys):
    for arguments, message in (
        ([f"{tmp_path}"], f"error: {tmp_path} must be DOMAIN=SHARDS, as in photo=shards/pacs_photo"),
        ([f"photo={tmp_path}"], f"error: {tmp_path} has no split of shards, a folder with nshards.txt"),
    ):
        assert make_pairs.main([*arguments, "--out", str(tmp_path / "pairs")]) == 1
        assert capsys.readouterr().err == f"{message}\n"
    assert not (tmp_path / "pairs").exists()
