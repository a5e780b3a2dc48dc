import pytest

from tests.data.shards.helpers import write


@pytest.fixture
def root(tmp_path):
    """Train 50 in 7 shards, test 20 in 3, sketch 11 in 2; sample i is of grey level i and class i mod 3."""
    for folder, split, size in (("photo", "train", 50), ("photo", "test", 20), ("sketch", "test", 11)):
        write(tmp_path / "sets" / folder, split, size)
    return tmp_path / "sets"
