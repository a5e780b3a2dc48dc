"""Files and folders are whole or absent."""

import contextlib
import os

import pytest

from tests.storage.killed import killed_while
from tests.storage.mounts import mounted
from tracer_lightning.storage import held, making, remove_stale, replacing, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def another_process(writing):
    """Another process is in the middle of it, and finishes at the end."""
    (ready, begun), (go, finish) = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        status = 1
        with contextlib.suppress(OSError), writing as partial:
            os.write(begun, b".")
            os.close(finish)
            os.read(go, 1)
            (partial / "theirs" if partial.is_dir() else partial).write_text("theirs")
            status = 0
        os._exit(status)
    os.read(ready, 1)
    yield
    os.close(finish)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


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


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path):
    killed_while(replacing(tmp_path / "last.ckpt"))
    (ours,) = names(tmp_path)
    remove_stale(tmp_path)
    assert names(tmp_path) == []
    remove_stale(tmp_path / "absent")
    (tmp_path / "notes.tmp").write_text("a user's")
    (tmp_path / "last.ckpt.tmp").write_text("a user's")
    (tmp_path / ".tracer-partial-mine").write_text("a user's")
    (tmp_path / "folder.tmp").mkdir()
    (tmp_path / ours).symlink_to("notes.tmp")
    os.mkfifo(tmp_path / f"{ours[:-4]}0000")
    (tmp_path / f"{ours[:-4]}1111").mkdir()
    before = names(tmp_path)
    remove_stale(tmp_path)
    write_text(tmp_path / "last.ckpt", "whole")  # a pipe does not hold it up, either
    assert set(before) - set(names(tmp_path)) <= {f"{ours[:-4]}1111"}
    assert (tmp_path / "notes.tmp").read_text() == "a user's"


def test_the_next_writing_removes_what_a_kill_left_of_the_same_file(tmp_path):
    killed_while(replacing(tmp_path / "table.csv"))
    killed_while(replacing(tmp_path / "other.csv"))
    killed_while(making(tmp_path / "export"))
    assert len(names(tmp_path)) == 3
    write_text(tmp_path / "table.csv", "whole")
    assert len(names(tmp_path)) == 3
    with making(tmp_path / "export"):
        pass
    write_text(tmp_path / "other.csv", "whole")
    assert names(tmp_path) == ["export", "other.csv", "table.csv"]


def test_halves_of_characters_are_written_as_escapes(tmp_path):
    write_text(tmp_path / "table.csv", "é\ud800\n")
    assert (tmp_path / "table.csv").read_bytes() == b"\xc3\xa9\\ud800\n"


def test_names_may_be_as_long_as_the_system_allows(tmp_path):
    write_text(tmp_path / ("x" * 255), "whole")
    with making(tmp_path / ("ü" * 127)) as partial:
        (partial / "file").touch()
    assert names(tmp_path) == ["x" * 255, "ü" * 127]


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    path = tmp_path / "index.npz"
    with another_process(replacing(path)):
        write_text(path, "ours")
        assert path.read_text() == "ours"
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["index.npz"]


def test_errors_name_the_file_that_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent/table\.csv'"):
        write_text(tmp_path / "absent/table.csv", "")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"'.*/file'"), making(tmp_path / "file"):
        pass
    assert names(tmp_path) == ["file"]


def test_a_folder_appears_as_a_whole(tmp_path):
    folder = tmp_path / "exports/mine"
    with making(folder) as partial:
        (partial / "tokenizer").mkdir()
        (partial / "tokenizer/vocabulary").write_text("words")
        assert not folder.exists()
    assert (folder / "tokenizer/vocabulary").read_text() == "words"
    assert names(tmp_path / "exports") == ["mine"]
    assert folder.stat().st_mode & 0o777 == (tmp_path / "exports").stat().st_mode & 0o777


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_a_folder_that_fails_leaves_nothing(tmp_path, error):
    (tmp_path / "mine").mkdir()

    def fail():
        with making(tmp_path / "mine") as partial:
            (partial / "half").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ["mine"]
    assert names(tmp_path / "mine") == []


def test_of_two_processes_that_make_a_folder_one_is_refused(tmp_path):
    folder = tmp_path / "mine"

    def make():
        with making(folder) as partial:
            (partial / "ours").touch()
            with another_process(making(folder)):
                assert len(names(tmp_path)) == 2

    with pytest.raises(FileExistsError, match="mine exists already, and is not empty"):
        make()
    assert names(folder) == ["theirs"]
    assert names(tmp_path) == ["mine"]


def test_a_lock_ends_with_its_process(tmp_path):
    with held(tmp_path) as locked:
        assert locked
        with pytest.raises(BlockingIOError), held(tmp_path):
            pass
    with held(tmp_path):
        pass
