"""What the distillation terms share."""

from __future__ import annotations

import math

from tracer_lightning.types import ClipFeatures, LossInputs


def require_teacher(inputs: LossInputs) -> ClipFeatures:
    """The teacher's features; ValueError where there are none."""
    if inputs.teacher is None:
        raise ValueError("a distillation term needs a teacher and found none: choose one (teacher=wma), or drop terms")
    return inputs.teacher


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless the temperature of a teacher's logits is a positive number."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be a finite number > 0, found {temperature}")
