"""Texts and names from elsewhere."""

import os

import pytest

from tracer_lightning.storage import TEXT_BYTES, below, read_text


def test_texts_are_bounded_regular_and_utf_8(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("Käse\r\nbread\n".encode())
    assert read_text(path) == "Käse\nbread\n"
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"names\.txt is no text in UTF-8"):
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
def test_paths_that_lead_elsewhere_are_refused(path):
    with pytest.raises(ValueError, match="must be a name, of what lies below its folder"):
        below(path)


@pytest.mark.parametrize("path", ["a", "a/b", "..a", "a..", ".hidden", "~", "0-tracer-beta-0.5-seed0", "Käse 1/x=2"])
def test_paths_below_a_folder_are_taken(path):
    assert below(path) == path
