"""No teacher."""

from __future__ import annotations

from typing import Any

from torch import nn


class NoTeacher(nn.Module):
    """Placeholder for methods without a teacher, which does nothing."""

    module = None
    total_steps = None
    has_same_precision = True

    def __init__(self, student: nn.Module, total_steps: int | None = None) -> None:
        super().__init__()
        del student, total_steps

    def begin(self, student: nn.Module, total_steps: int) -> None:
        """Do nothing."""

    def resume(self, total_steps: int) -> None:
        """Do nothing."""

    def update(self, student: nn.Module, step: int | None = None) -> None:
        """Do nothing."""

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Return None instead of features."""
