"""Reading of pickles that hold plain values and NumPy arrays. Nothing that a pickle names is called.

Its references to NumPy's functions are replaced by classes of this module that only keep what they are given, so that a
file can neither execute code nor allocate more than it contains.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

PLAIN_TYPE = re.compile(r"b1|[iu][1248]|f[248]|[SU]\d{1,4}")
"""NumPy's type codes of numbers and of short texts."""
OBJECTS = re.compile(r"O\d?")
"""NumPy's type code of arrays of any values."""
MAX_AXES = 8


class _Type:
    """Stand-in of ``numpy.dtype``."""

    def __init__(self, code: Any, *options: Any) -> None:
        text = code.decode("ascii", "replace") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not (PLAIN_TYPE.fullmatch(text) or OBJECTS.fullmatch(text)):
            raise ValueError(f"an array of type {code!r:.30}, which is neither of numbers nor of texts")
        self.code, self.order = text, "="

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "=", "|"):
            raise ValueError(f"an array of byte order {order!r:.20}")
        self.order = order

    @property
    def has_objects(self) -> bool:
        return OBJECTS.fullmatch(self.code) is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code if self.order != "|" else self.code)


class _Array:
    """Stand-in of an array that a pickle describes."""

    def __init__(self, *arguments: Any) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, content = state
        self.array = _filled(shape, kind, "F" if is_fortran else "C", content)


class _Class:
    """Stand-in of ``numpy.ndarray``, which pickles name and don't call."""


def _filled(shape: Any, kind: Any, order: Any, content: Any) -> np.ndarray:
    """Array of this shape with this content, of which there must be as much."""
    sizes = tuple(shape)
    if type(kind) is not _Type or len(sizes) > MAX_AXES or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError("an array without a plain type and shape")
    if kind.has_objects:
        if not isinstance(content, list) or len(content) != int(np.prod(sizes, dtype=object)):
            raise ValueError("an array whose content is of another size")
        return _of_objects(content, sizes)
    data = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(data, bytes | bytearray) or len(data) != int(np.prod(sizes, dtype=object)) * kind.dtype.itemsize:
        raise ValueError("an array whose content is of another size")
    return np.frombuffer(data, kind.dtype).reshape(sizes, order="F" if order == "F" else "C")


def _of_objects(elements: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Array of any values, one by one, since NumPy would join arrays of the same shape."""
    array = np.empty(len(elements), dtype=object)
    for number, element in enumerate(elements):
        array[number] = element
    return array.reshape(shape)


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    """Stand-in of ``numpy.core.multiarray._reconstruct``: an array whose content follows."""
    return _Array()


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """Stand-in of ``numpy.core.numeric._frombuffer``, of pickles of protocol 5."""
    array = _Array()
    array.array = _filled(shape, kind, order, content)
    return array


def _scalar(kind: Any, content: Any = None) -> Any:
    """Stand-in of ``numpy.core.multiarray.scalar``."""
    return _filled((), kind, "C", content).item()


def _encoded(text: Any, codec: Any) -> bytes:
    """Stand-in of ``_codecs.encode``, with which pickles of protocol 2 hold bytes."""
    if not isinstance(text, str) or codec != "latin1":
        raise ValueError("bytes of a codec other than latin1")
    return text.encode("latin1")


STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
    ("numpy", "ndarray"): _Class,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encoded,
    ("collections", "OrderedDict"): dict,
}
"""What the names in a pickle stand for; all others are refused."""


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler of plain values and arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name."""
        if (module, name) not in STAND_INS:
            raise ValueError(f"{module}.{name}, which is no plain value and is not executed")
        return STAND_INS[module, name]


def read_plain_pickle(file: IO[bytes], where: Path) -> Any:
    """Values in a pickle: dictionaries, lists, tuples, texts, numbers and arrays; texts of Python 2 are bytes.

    Args:
        file: file at the beginning of the pickle.
        where: its path, for messages.

    Raises:
        ValueError: it holds anything else, or is damaged.
    """
    try:
        return _plain(_PlainUnpickler(file, encoding="bytes").load())
    except Exception as error:  # forged pickles raise errors of many classes
        reason = (str(error) or type(error).__name__).splitlines()[0][:150]
        raise ValueError(f"{where}: not a pickle of plain values and arrays, found {reason}") from error


def read_plain_array(path: Path) -> np.ndarray:
    """Array in a ``.npy`` file, whose elements may be plain pickled values.

    Raises:
        ValueError: it holds anything else, or is damaged.
    """
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read: Any = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read[version](file)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: not a .npy file ({str(error)[:100]})") from error
        if not dtype.hasobject:
            plain: np.ndarray = np.load(path, allow_pickle=False)
            return plain
        content = read_plain_pickle(file, path)
    array = np.asarray(content, dtype=object) if not isinstance(content, np.ndarray) else content
    if array.shape != shape:
        raise ValueError(f"{path}: its content must have the shape {shape} of its header, found {array.shape}")
    return array


def _plain(value: Any) -> Any:
    """The value with arrays in place of their stand-ins."""
    if isinstance(value, _Array):
        array = value.array
        if array is None:
            raise ValueError("an array without content")
        if array.dtype == object:
            return _of_objects([_plain(element) for element in array.ravel()], array.shape)
        return array
    if isinstance(value, dict):
        return {_plain(key): _plain(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(element) for element in value)
    if isinstance(value, _Type | _Class):
        raise ValueError("a type in place of a value")
    return value
