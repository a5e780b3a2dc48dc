"""What the command lines of merge.py and similarity.py have beside Hydra's.

It imports nothing heavy, so that --help is quick.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from tracer_lightning.config.paths import quoted

ALPHA, CHECKPOINT, CHECKPOINTS, FIRST = "alpha=", "checkpoint=", "checkpoints=", "first="
ELLIPSIS = "..."


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """A command line in Hydra's terms, in which commas would mean a sweep.

    A leading word is an option of ``merge``. ``alpha=0,0.1,...,1`` and ``checkpoints=A,B`` become lists, and the first
    of these the ``checkpoint`` whose settings count. A command line in Hydra's terms stays what it is.

    Raises:
        ValueError: ``alpha`` is no list of numbers.
    """
    script, *rest = arguments
    if rest and re.fullmatch(r"\w[\w-]*", rest[0]):
        rest[0] = f"merge={rest[0]}"
    spelled = []
    for argument in rest:
        key, _, value = argument.partition("=")
        items = _items(value)
        if f"{key}=" == ALPHA:
            numbers = ",".join(f"{number:f}" for number in progression(items))
            spelled.append(f"merge.{ALPHA}[{numbers}]")
        elif f"{key}=" == CHECKPOINTS:
            names = [quoted(item) for item in items]
            spelled += [f"{CHECKPOINTS}[{','.join(names)}]", f"{CHECKPOINT}{names[0]}"]
        else:
            spelled.append(argument)
    return [script, *spelled]


def firsts_listed(arguments: Sequence[str]) -> list[str]:
    """A command line in which ``first=A,B`` or ``first=A`` is a list, and its first item the ``checkpoint``."""
    script, *rest = arguments
    spelled = []
    for argument in rest:
        if argument.startswith(FIRST):
            names = [quoted(item) for item in _items(argument.removeprefix(FIRST))]
            spelled += [f"{FIRST}[{','.join(names)}]", f"{CHECKPOINT}{names[0]}"]
        else:
            spelled.append(argument)
    return [script, *spelled]


def _items(value: str) -> list[str]:
    """What stands between commas, whatever quotes and brackets are around it."""
    return [item.strip(" '\"") for item in value.strip(" '\"[]").split(",")]


def progression(parts: Sequence[str]) -> list[Decimal]:
    """The numbers of a list such as 0, 0.1, ..., 1, in which dots continue the two numbers before them; exactly.

    Raises:
        ValueError: something is no number, or dots don't lead from the numbers before them to that behind.
    """
    text = ",".join(parts)
    numbers: list[Decimal] = []
    for place, part in enumerate(parts):
        if part == ELLIPSIS:
            numbers += _between(text, numbers, parts[place + 1 :])
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


def _between(text: str, before: Sequence[Decimal], behind: Sequence[str]) -> list[Decimal]:
    """What dots stand for."""
    if len(before) < 2 or not behind:
        raise ValueError(f"{ALPHA}{text}: dots stand between two numbers and a last one, as in alpha=0,0.1,...,1")
    step, last = before[-1] - before[-2], _number(text, behind[0])
    count = (last - before[-1]) / step if step else Decimal(0)
    if count < 1 or count != count.to_integral_value():
        raise ValueError(f"{ALPHA}{text}: steps of {step} don't lead from {before[-1]} to {last}")
    return [before[-1] + number * step for number in range(1, int(count))]
