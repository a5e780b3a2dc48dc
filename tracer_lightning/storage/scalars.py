"""Safe loading of NumPy scalars in pickles, such as a metric saved beside the weights.

NumPy's own constructors can allocate arrays of any size from a few bytes (``scalar(dtype("V999999999"))``), and
``_codecs.encode``, with which pickles of protocol 2 store bytes, can expand them with some codecs.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

NUMBER = re.compile(r"b1|[iu][1248]|f[248]")
"""NumPy's type codes of the supported scalars."""
MAX_ENCODED_LENGTH = 32
"""Maximum number of characters that a pickle may encode as the bytes of a number."""
ENCODE = ("GLOBAL", "_codecs encode")
LATIN = ("text", "latin1")


class NumberType:
    """Replacement of ``numpy.dtype`` while a pickle is loaded: the type of a number."""

    def __init__(self, code: Any, *options: Any) -> None:
        if not isinstance(code, str) or not NUMBER.fullmatch(code):
            raise ValueError(f"a NumPy value of type {code!r:.20}, which is no number; save plain Python values")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "=", "|"):
            raise ValueError(f"a NumPy value of byte order {state[1]!r:.20}")
        self.order = state[1]


def load_number(dtype: Any, content: Any) -> float | int | bool:
    """Return a plain number, in place of ``numpy.core.multiarray.scalar`` while a pickle is loaded."""
    if type(dtype) is not NumberType or type(content) is not bytes:
        raise ValueError("a NumPy value without type or bytes")
    value: float | int | bool = np.frombuffer(content, np.dtype(dtype.order + dtype.code), count=1)[0].item()
    return value


STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (NumberType, "numpy.dtype"),
    (load_number, "numpy._core.multiarray.scalar"),
    (load_number, "numpy.core.multiarray.scalar"),
]
"""Arguments of ``torch.serialization.safe_globals``: the supported NumPy names, and the callables that replace them."""


def encodes_numbers_only(pickled: bytes) -> bool:
    """Whether a pickle calls every ``_codecs.encode`` immediately, with a short text and Latin-1.

    Raises:
        ValueError: the bytes are not a pickle.
    """
    memo: dict[Any, tuple[str, Any]] = {}
    expected: list[Callable[[tuple[str, Any]], bool]] = []
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
        if expected:
            if not expected.pop(0)(value):
                return False
        elif value == ENCODE:
            expected = [
                lambda text: text[0] == "text" and len(text[1]) <= MAX_ENCODED_LENGTH,
                lambda codec: codec == LATIN,
                lambda operation: operation[0] == "TUPLE2",
                lambda operation: operation[0] == "REDUCE",
            ]
    return not expected
