"""Kernels as functions of progress, and the weight of an optimizer step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Kernel = Callable[[float], float]
"""Any callable from progress tau in (0, 1) to a weight >= 0."""


def check_progress(progress: float) -> None:
    """Raise ValueError unless ``progress`` lies in (0, 1)."""
    if not 0.0 < progress < 1.0:
        raise ValueError(f"progress must lie in the open interval (0, 1), found {progress}")


def weight_at(kernel: Kernel, step: int, total_steps: int) -> float:
    """Unnormalised weight alpha_k = kernel((k + 0.5) / (T + 1)) at optimizer step k of T (TRACER, eq. 15).

    Raises:
        ValueError: the weight is not a finite number >= 0.
    """
    progress = (step + 0.5) / (total_steps + 1)
    value: Any
    try:
        value = kernel(progress)
    except (ValueError, ArithmeticError) as error:
        value = error
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = float("nan")
    if not 0.0 <= weight < float("inf"):
        raise ValueError(
            f"kernel must give finite weights >= 0, found {value!r} at progress {progress:.6g}, step {step} of "
            f"{total_steps}"
        )
    return weight
