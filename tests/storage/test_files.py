"""Files are whole or absent."""

import pytest

from tests.storage.mounts import mounted
from tracer_lightning.storage import remove_stale, replacing, write_text


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "results.json"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "results.json"
    write_text(path, "old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    with mounted(tmp_path / "disk", "1m") as disk:
        write_text(disk / "log", "old")
        with pytest.raises(OSError, match="No space left"):
            write_text(disk / "log", "x" * 2_000_000)
        assert (disk / "log").read_text() == "old"
        assert [path.name for path in disk.iterdir()] == ["log"]


def test_what_a_kill_left_is_removed(tmp_path):
    for name in ("last.ckpt.tmp", "last.ckpt", "metrics.csv"):
        (tmp_path / name).touch()
    remove_stale(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "metrics.csv"]
