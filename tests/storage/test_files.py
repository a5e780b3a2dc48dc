"""Atomic writes of files and folders."""

import contextlib
import os

import pytest

from tests.storage.killed import killed_while
from tests.storage.mounts import mounted
from tracer_lightning.storage import atomic_file, atomic_folder, file_lock, remove_stale, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def another_process(atomic_write):
    """Another process is in the middle of the write, and finishes it on exit."""
    (started_read, started_write), (finish_read, finish_write) = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        status = 1
        with contextlib.suppress(OSError), atomic_write as partial:
            os.write(started_write, b".")
            os.close(finish_write)
            os.read(finish_read, 1)
            (partial / "theirs" if partial.is_dir() else partial).write_text("theirs")
            status = 0
        os._exit(status)
    os.read(started_read, 1)
    yield
    os.close(finish_write)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def test_a_file_is_replaced_atomically(tmp_path):
    path = tmp_path / "results.json"
    write_text(path, "old")
    with atomic_file(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_keeps_only_the_old_file(tmp_path, error):
    path = tmp_path / "results.json"
    write_text(path, "old")

    def fail():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_a_full_disk_keeps_the_old_file(tmp_path):
    with mounted(tmp_path / "disk", "1m") as disk:
        write_text(disk / "log", "old")
        with pytest.raises(OSError, match="No space left"):
            write_text(disk / "log", "x" * 2_000_000)
        assert (disk / "log").read_text() == "old"
        assert [path.name for path in disk.iterdir()] == ["log"]


def test_only_temporary_files_of_killed_processes_are_removed(tmp_path):
    killed_while(atomic_file(tmp_path / "last.ckpt"))
    (leftover,) = names(tmp_path)
    remove_stale(tmp_path)
    assert names(tmp_path) == []
    remove_stale(tmp_path / "absent")
    (tmp_path / "notes.tmp").write_text("a user's")
    (tmp_path / "last.ckpt.tmp").write_text("a user's")
    (tmp_path / ".tracer-partial-mine").write_text("a user's")
    (tmp_path / "folder.tmp").mkdir()
    (tmp_path / leftover).symlink_to("notes.tmp")
    os.mkfifo(tmp_path / f"{leftover[:-4]}0000")
    (tmp_path / f"{leftover[:-4]}1111").mkdir()
    before = names(tmp_path)
    remove_stale(tmp_path)
    write_text(tmp_path / "last.ckpt", "new")  # the pipe does not block it
    assert set(before) - set(names(tmp_path)) <= {f"{leftover[:-4]}1111"}
    assert (tmp_path / "notes.tmp").read_text() == "a user's"


def test_the_next_write_removes_leftovers_of_the_same_file(tmp_path):
    killed_while(atomic_file(tmp_path / "table.csv"))
    killed_while(atomic_file(tmp_path / "other.csv"))
    killed_while(atomic_folder(tmp_path / "export"))
    assert len(names(tmp_path)) == 3
    write_text(tmp_path / "table.csv", "new")
    assert len(names(tmp_path)) == 3
    with atomic_folder(tmp_path / "export"):
        pass
    write_text(tmp_path / "other.csv", "new")
    assert names(tmp_path) == ["export", "other.csv", "table.csv"]


def test_lone_surrogates_are_written_as_escapes(tmp_path):
    write_text(tmp_path / "table.csv", "é\ud800\n")
    assert (tmp_path / "table.csv").read_bytes() == b"\xc3\xa9\\ud800\n"


def test_names_may_be_as_long_as_the_system_allows(tmp_path):
    write_text(tmp_path / ("x" * 255), "new")
    with atomic_folder(tmp_path / ("ü" * 127)) as partial:
        (partial / "file").touch()
    assert names(tmp_path) == ["x" * 255, "ü" * 127]


def test_files_that_another_process_is_writing_are_kept(tmp_path):
    path = tmp_path / "index.npz"
    with another_process(atomic_file(path)):
        write_text(path, "ours")
        assert path.read_text() == "ours"
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["index.npz"]


def test_errors_name_the_target_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent/table\.csv'"):
        write_text(tmp_path / "absent/table.csv", "")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"'.*/file'"), atomic_folder(tmp_path / "file"):
        pass
    assert names(tmp_path) == ["file"]


def test_a_folder_appears_atomically(tmp_path):
    folder = tmp_path / "exports/mine"
    with atomic_folder(folder) as partial:
        (partial / "tokenizer").mkdir()
        (partial / "tokenizer/vocabulary").write_text("words")
        assert not folder.exists()
    assert (folder / "tokenizer/vocabulary").read_text() == "words"
    assert names(tmp_path / "exports") == ["mine"]
    assert folder.stat().st_mode & 0o777 == (tmp_path / "exports").stat().st_mode & 0o777


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_a_failed_write_of_a_folder_leaves_nothing(tmp_path, error):
    (tmp_path / "mine").mkdir()

    def fail():
        with atomic_folder(tmp_path / "mine") as partial:
            (partial / "half").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ["mine"]
    assert names(tmp_path / "mine") == []


def test_the_slower_of_two_processes_that_write_a_folder_fails(tmp_path):
    folder = tmp_path / "mine"

    def make():
        with atomic_folder(folder) as partial:
            (partial / "ours").touch()
            with another_process(atomic_folder(folder)):
                assert len(names(tmp_path)) == 2

    with pytest.raises(FileExistsError, match="mine exists already, and is not empty"):
        make()
    assert names(folder) == ["theirs"]
    assert names(tmp_path) == ["mine"]


def test_a_lock_excludes_others_until_it_is_released(tmp_path):
    with file_lock(tmp_path) as locked:
        assert locked
        with pytest.raises(BlockingIOError), file_lock(tmp_path):
            pass
    with file_lock(tmp_path):
        pass
