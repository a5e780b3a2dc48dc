"""NumPy scalars in pickles, which may not call anything that makes more than a number."""

import io
import pickletools
import zipfile

import numpy as np
import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.models import load_weights, read_checkpoint
from tracer_lightning.storage import check_tensors

VALUES = {
    **{"double": np.float64(0.1), "float": np.float32(0.1), "half": np.float16(0.1), "long": np.int64(-3)},
    **{"byte": np.uint8(255), "true": np.bool_(True), "again": np.bool_(True), "big": np.dtype(">f8").type(0.1)},
}


def test_numpy_scalars_become_python_numbers(tmp_path):
    torch.save({"values": VALUES, "weights": torch.zeros(2, 2)}, tmp_path / "file.pt")
    for name, value in read_checkpoint(tmp_path / "file.pt", "checkpoint")["values"].items():
        assert type(value) in (bool, int, float)
        assert value == VALUES[name]


def test_other_numpy_values_are_rejected(tmp_path):
    for value, message in ((np.str_("text"), "a NumPy value of type 'U4'"), (np.complex64(1), "'c8'")):
        torch.save({"value": value, "weights": torch.zeros(2, 2)}, tmp_path / "file.pt")
        with pytest.raises(ValueError, match=message):
            read_checkpoint(tmp_path / "file.pt", "checkpoint")


def text(value):
    encoded = value.encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


ENCODE, REDUCE, SCALAR, DTYPE = b"c_codecs\nencode\n", b"R", b"cnumpy._core.multiarray\nscalar\n", b"cnumpy\ndtype\n"
STATE = b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
EIGHT = ENCODE + text("\0" * 8) + text("latin1") + b"\x86R"
HOSTILE = {
    "another codec": ENCODE + text("ab" * 9) + text("hex") + b"\x86R",
    "a long text": ENCODE + text("a" * 33) + text("latin1") + b"\x86R",
    "bytes again": ENCODE + EIGHT + text("latin1") + b"\x86R",
    "kept for later": text("x") + ENCODE + b"q\0" + b"\x86",
    "called later": ENCODE + b"q\0h\0" + text("x") + text("latin1") + b"\x86R",
    "another codec from the memo": ENCODE + text("a") + text("latin1") + b"\x86R" + text("hex") + b"q\1"
    + ENCODE + text("b") + b"h\1\x86R",
    "a memo entry that is used twice": text("latin1") + b"q\1" + text("hex") + b"q\1" + ENCODE + text("b")
    + b"h\1\x86R",
    "without a codec": ENCODE + text("a") + b"\x85R",
    "an end before the call": ENCODE + text("a"),
}  # fmt: skip
UNSOUND = {
    "void": SCALAR + DTYPE + text("V999999999") + b"\x89\x88\x87R" + EIGHT + b"\x86R",
    "an array": SCALAR + DTYPE + text("(99999999,)f8") + b"\x89\x88\x87R" + EIGHT + b"\x86R",
    "objects": SCALAR + DTYPE + text("O") + b"\x89\x88\x87R" + EIGHT + b"\x86R",
    "too few bytes": SCALAR + DTYPE + text("f8") + b"\x89\x88\x87R" + STATE + ENCODE + text("a") + text("latin1")
    + b"\x86R\x86R",
    "an invalid byte order": SCALAR + DTYPE + text("f8") + b"\x89\x88\x87R(K\x03" + text("(9999999,)<") + b"NNtb"
    + EIGHT + b"\x86R",
    "no type": SCALAR + text("f8") + EIGHT + b"\x86R",
    "an uninitialised type": SCALAR + DTYPE + b")\x81" + EIGHT + b"\x86R",
    "a mapping instead of a type": SCALAR + b"ccollections\nOrderedDict\n)R}" + text("code") + text("O") + b"sb" + EIGHT
    + b"\x86R",
}  # fmt: skip


def archive(path, value):
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("a/data.pkl", b"\x80\x02}" + text("value") + value + b"s.")
        target.writestr("a/version", "3\n")
        target.writestr("a/byteorder", "little")
        target.writestr("a/.data/serialization_id", "0")
    return path


@pytest.mark.parametrize("kind", HOSTILE)
def test_only_bytes_of_numbers_are_decoded(tmp_path, kind):
    path = archive(tmp_path / "file.pt", HOSTILE[kind])
    with pytest.raises(ValueError, match=r"a pickle of something else, _codecs\.encode, which is not executed"):
        check_tensors(path)
    with pytest.raises(ValueError, match="not a file of plain weights"):
        load_weights(tiny_backbone().model, path)


@pytest.mark.parametrize("kind", UNSOUND)
def test_only_number_types_are_loaded(tmp_path, kind):
    path = archive(tmp_path / "file.pt", UNSOUND[kind])
    check_tensors(path)
    with pytest.raises(ValueError, match="not a file of plain weights"):
        read_checkpoint(path, "checkpoint")


def test_a_sound_pickle_of_this_form_is_loaded(tmp_path):
    sound = SCALAR + DTYPE + text("f8") + b"\x89\x88\x87R" + STATE + EIGHT + b"\x86R"
    assert read_checkpoint(archive(tmp_path / "file.pt", sound), "checkpoint") == {"value": 0.0}
    pickletools.dis(b"\x80\x02" + sound + b".", io.StringIO())
