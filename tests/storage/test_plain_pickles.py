"""Pickles of arrays, read without executing anything."""

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from tracer_lightning.storage.plain_pickles import read_plain_array, read_plain_pickle

CONTENT = {
    "data": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
    "label": ["N", "~"],
    "texts": np.array(["ab", "c"]),
    "number": np.float64(1.5),
    "nested": OrderedDict(a=(1, None, True, b"x")),
}
RAGGED = np.empty(2, dtype=object)
RAGGED[:] = [np.arange(3), np.arange(5.0)]
EQUAL = np.empty(2, dtype=object)
EQUAL[0], EQUAL[1] = np.arange(3), np.arange(3)


def read(content, protocol):
    return read_plain_pickle(io.BytesIO(pickle.dumps(content, protocol)), Path("file"))


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, np.ndarray) and first.dtype == object:
        return first.shape == second.shape and all(map(same, first.ravel(), second.ravel()))
    return np.array_equal(first, second)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("content", [CONTENT, RAGGED, EQUAL], ids=["dictionary", "ragged", "equal"])
def test_plain_values_and_arrays_are_read(content, protocol):
    assert same(read(content, protocol), content)


def test_texts_of_python_2_are_bytes():
    pickled = b"\x80\x02}q\x01U\x04dataq\x02K\x07s."
    assert read_plain_pickle(io.BytesIO(pickled), Path("file")) == {b"data": 7}


class Attack:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Attack(os.system, "true"), r"posix\.system, which is no plain value and is not executed"),
        (Attack(eval, "1"), r"\w+\.eval"),
        (Attack(np.dtype, "V999999999"), "an array of type 'V999999999'"),
        (np.dtype("f8"), "a type in place of a value"),
        (np.zeros(2, dtype=[("a", "f8")]), "an array of type"),
    ],
    ids=["system", "eval", "bomb", "type", "record"],
)
def test_anything_else_is_refused(content, message):
    with pytest.raises(ValueError, match=f"file: not a pickle of plain values and arrays, found {message}"):
        read(content, 2)


def test_an_array_allocates_no_more_than_it_contains():
    pickled = pickle.dumps(np.zeros(3), 2).replace(b"K\x03", b"J\xff\xff\xff\x7f")
    with pytest.raises(ValueError, match="content is of another size"):
        read_plain_pickle(io.BytesIO(pickled), Path("file"))
    with pytest.raises(ValueError, match="not a pickle"):
        read_plain_pickle(io.BytesIO(b"hello"), Path("file"))


def test_arrays_of_objects_are_read_from_npy_files(tmp_path):
    np.save(tmp_path / "dictionary.npy", {"data": np.arange(3)}, allow_pickle=True)
    np.save(tmp_path / "ragged.npy", RAGGED, allow_pickle=True)
    np.save(tmp_path / "plain.npy", np.arange(3))
    assert same(read_plain_array(tmp_path / "dictionary.npy")[()], {"data": np.arange(3)})
    assert same(read_plain_array(tmp_path / "ragged.npy"), RAGGED)
    assert same(read_plain_array(tmp_path / "plain.npy"), np.arange(3))
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(ValueError, match=r"text.npy: not a .npy file"):
        read_plain_array(tmp_path / "text.npy")
