"""NumPy's numbers in pickles, such as a metric beside the weights, read without NumPy's own constructors.

These make arrays of any size from a few bytes (``scalar(dtype("V999999999"))``), and ``_codecs.encode``, by which
pickles of protocol 2 hold bytes, multiplies them with some codecs.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

NUMBER = re.compile(r"b1|[iu][1248]|f[248]")
"""NumPy's codes of the types that are read."""
LONGEST = 32
"""The most characters that a pickle may have encoded as the bytes of a number."""
ENCODE = ("GLOBAL", "_codecs encode")
LATIN = ("text", "latin1")


class NumberType:
    """What stands for ``numpy.dtype`` while a file is read: the type of a number."""

    def __init__(self, code: Any, *options: Any) -> None:
        if not isinstance(code, str) or not NUMBER.fullmatch(code):
            raise ValueError(f"a NumPy value of type {code!r:.20}, which is no number; save plain values of Python's")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "=", "|"):
            raise ValueError(f"a NumPy value of byte order {state[1]!r:.20}")
        self.order = state[1]


def number(kind: Any, content: Any) -> float | int | bool:
    """What stands for ``numpy.core.multiarray.scalar`` while a file is read: a plain number of the same value."""
    if type(kind) is not NumberType or type(content) is not bytes:
        raise ValueError("a NumPy value without type or bytes")
    value: float | int | bool = np.frombuffer(content, np.dtype(kind.order + kind.code), count=1)[0].item()
    return value


STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (NumberType, "numpy.dtype"),
    (number, "numpy._core.multiarray.scalar"),
    (number, "numpy.core.multiarray.scalar"),
]
"""For ``torch.serialization.safe_globals``: the only names of NumPy's that are read, and what is called for them."""


def encodes_numbers_only(pickled: bytes) -> bool:
    """Whether every ``_codecs.encode`` of a pickle is called at once, with a short text and Latin-1.

    Raises:
        ValueError: what is given is no pickle.
    """
    memo: dict[Any, tuple[str, Any]] = {}
    awaited: list[Callable[[tuple[str, Any]], bool]] = []
    value: tuple[str, Any] = ("", None)
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = value
            continue
        value = (opcode.name, argument)
        if opcode.name in ("BINGET", "LONG_BINGET"):
            value = memo.get(argument, value)
        elif opcode.name == "BINUNICODE":
            value = ("text", argument)
        if awaited:
            if not awaited.pop(0)(value):
                return False
        elif value == ENCODE:
            awaited = [
                lambda text: text[0] == "text" and len(text[1]) <= LONGEST,
                lambda codec: codec == LATIN,
                lambda operation: operation[0] == "TUPLE2",
                lambda operation: operation[0] == "REDUCE",
            ]
    return not awaited
