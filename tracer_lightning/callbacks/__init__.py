"""Callbacks."""

from tracer_lightning.callbacks.teacher_update import TeacherUpdate

__all__ = ["TeacherUpdate"]
