"""Images and tables that tests share."""

import pytest

from tests.conftest import tiny_backbone
from tests.data.pairs.pair_files import rows, write_images, write_rows


@pytest.fixture(scope="session")
def spec():
    return tiny_backbone().spec


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """120 images with two captions each in mine.csv, and 10 others with one each in val.csv; tests only read them."""
    folder = tmp_path_factory.mktemp("pairs")
    write_images(folder, 130)
    write_rows(folder / "mine.csv", rows(120, captions=2))
    write_rows(folder / "val.csv", rows(130)[120:])
    return folder
