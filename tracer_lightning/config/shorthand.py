"""Shorthand on the command lines of merge.py and similarity.py, translated into Hydra's grammar.

This module imports nothing heavy, so that --help is quick.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from tracer_lightning.config.paths import quoted

ALPHA, CHECKPOINT, CHECKPOINTS, FIRST = "alpha=", "checkpoint=", "checkpoints=", "first="
ELLIPSIS = "..."


def expand_merge(arguments: Sequence[str]) -> list[str]:
    """The command line of merge.py in Hydra's grammar, in which commas would mean a sweep.

    A leading word becomes the option of ``merge``. ``alpha=0,0.1,...,1`` and ``checkpoints=A,B`` become lists, and the
    first checkpoint becomes ``checkpoint``, whose settings are used. Overrides in Hydra's grammar are unchanged.

    Raises:
        ValueError: ``alpha`` is no list of numbers.
    """
    script, *rest = arguments
    if rest and re.fullmatch(r"\w[\w-]*", rest[0]):
        rest[0] = f"merge={rest[0]}"
    expanded = []
    for argument in rest:
        key, _, value = argument.partition("=")
        items = _items(value)
        if f"{key}=" == ALPHA:
            numbers = ",".join(f"{number:f}" for number in progression(items))
            expanded.append(f"merge.{ALPHA}[{numbers}]")
        elif f"{key}=" == CHECKPOINTS:
            names = [quoted(item) for item in items]
            expanded += [f"{CHECKPOINTS}[{','.join(names)}]", f"{CHECKPOINT}{names[0]}"]
        else:
            expanded.append(argument)
    return [script, *expanded]


def expand_similarity(arguments: Sequence[str]) -> list[str]:
    """The command line of similarity.py with ``first=A,B`` as a list, and its first item as ``checkpoint``."""
    script, *rest = arguments
    expanded = []
    for argument in rest:
        if argument.startswith(FIRST):
            names = [quoted(item) for item in _items(argument.removeprefix(FIRST))]
            expanded += [f"{FIRST}[{','.join(names)}]", f"{CHECKPOINT}{names[0]}"]
        else:
            expanded.append(argument)
    return [script, *expanded]


def _items(value: str) -> list[str]:
    """Items between commas, without quotes and brackets around them."""
    return [item.strip(" '\"") for item in value.strip(" '\"[]").split(",")]


def progression(parts: Sequence[str]) -> list[Decimal]:
    """Exact numbers of a list such as 0, 0.1, ..., 1, in which dots continue the two numbers before them.

    Raises:
        ValueError: an item is no number, or dots do not lead from the numbers before them to the number after them.
    """
    text = ",".join(parts)
    numbers: list[Decimal] = []
    for position, part in enumerate(parts):
        if part == ELLIPSIS:
            numbers += _between(text, numbers, parts[position + 1 :])
        else:
            numbers.append(_number(text, part))
    return numbers


def _number(text: str, part: str) -> Decimal:
    try:
        number = Decimal(part)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise ValueError(f"{ALPHA}{text}: {part!r} is no number; write alpha=0.5, alpha=0,0.5,1 or alpha=0,0.1,...,1")
    return number


def _between(text: str, before: Sequence[Decimal], after: Sequence[str]) -> list[Decimal]:
    """Numbers that the dots stand for."""
    if len(before) < 2 or not after:
        raise ValueError(f"{ALPHA}{text}: dots stand between two numbers and a last one, as in alpha=0,0.1,...,1")
    step, last = before[-1] - before[-2], _number(text, after[0])
    count = (last - before[-1]) / step if step else Decimal(0)
    if count < 1 or count != count.to_integral_value():
        raise ValueError(f"{ALPHA}{text}: steps of {step} don't lead from {before[-1]} to {last}")
    return [before[-1] + number * step for number in range(1, int(count))]
