import pytest


@pytest.fixture
def root(shard_root):
    return shard_root
