"""What the distillation terms share."""

from __future__ import annotations

from tracer_lightning.types import ClipFeatures, TermInputs


def require_teacher(inputs: TermInputs) -> ClipFeatures:
    """The teacher's features; ValueError where there are none."""
    if inputs.teacher is None:
        raise ValueError("a distillation term needs a teacher and found none: choose one (teacher=wma), or drop terms")
    return inputs.teacher
