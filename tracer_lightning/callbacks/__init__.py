"""Callbacks."""

from tracer_lightning.callbacks.progress import Progress
from tracer_lightning.callbacks.report import Report
from tracer_lightning.callbacks.teacher_statistics import TeacherStatistics
from tracer_lightning.callbacks.teacher_update import TeacherUpdate

__all__ = ["Progress", "Report", "TeacherStatistics", "TeacherUpdate"]
