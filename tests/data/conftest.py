"""Sets of images on disk, as class folders and as shards."""

import shutil
from pathlib import Path

import pytest

from tests.data.shards.helpers import write
from tests.images import grey_pixels, write_image


@pytest.fixture
def folder_root(tmp_path):
    """Images of a single grey level for each class, in several formats and modes; the OOD set lacks a class."""
    levels = {"big_dog": 40, "cat": 100, "owl": 160}
    for split, classes in (("train", levels), ("val", levels), ("art", ["cat", "owl"])):
        for name in classes:
            for number, suffix in enumerate(("jpg", "png", "bmp", "webp")):
                pixels = grey_pixels(levels[name], 40 + number, 50)
                write_image(
                    tmp_path / "pets" / split / name / f"{number}.{suffix}", pixels, "L" if number == 1 else None
                )
    return tmp_path / "pets"


@pytest.fixture(scope="session")
def shard_sets(tmp_path_factory):
    """Shards that tests copy before they change them."""
    sets = tmp_path_factory.mktemp("shards") / "sets"
    for folder, split, size in (("photo", "train", 50), ("photo", "test", 20), ("sketch", "test", 11)):
        write(sets / folder, split, size)
    return sets


@pytest.fixture
def shard_root(shard_sets, tmp_path):
    """Train 50 in 7 shards, test 20 in 3, sketch 11 in 2; sample i is of grey level i and class i mod 3."""
    return Path(shutil.copytree(shard_sets, tmp_path / "sets"))
