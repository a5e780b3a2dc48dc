"""Text files and relative paths from untrusted sources."""

import os

import pytest

from tracer_lightning.storage import TEXT_BYTES, check_relative, read_text


def test_texts_must_be_small_regular_utf_8_files(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("Käse\r\nbread\n".encode())
    assert read_text(path) == "Käse\nbread\n"
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"names\.txt is not UTF-8 text"):
        read_text(path)
    with path.open("wb") as file:
        file.truncate(TEXT_BYTES + 1)
    with pytest.raises(ValueError, match=r"names\.txt has more than"):
        read_text(path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(ValueError, match=f"{name} is a {name}"):
            read_text(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "absent")


@pytest.mark.parametrize(
    "path", ["", ".", "..", "/etc", "a/../b", "a/..", "../a", "a//b", "a/./b", "a/", "a\0b", " ", "a\n"]
)
def test_paths_that_leave_the_folder_are_rejected(path):
    with pytest.raises(ValueError, match="must be a relative path within its folder"):
        check_relative(path)


@pytest.mark.parametrize("path", ["a", "a/b", "..a", "a..", ".hidden", "~", "0-tracer-beta-0.5-seed0", "Käse 1/x=2"])
def test_relative_paths_are_accepted(path):
    assert check_relative(path) == path
