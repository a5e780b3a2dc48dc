"""Lightning callbacks."""

from tracer_lightning.callbacks.batch_seed import BatchSeed
from tracer_lightning.callbacks.clip_schedule import ClipSchedule
from tracer_lightning.callbacks.nonfinite import NonFinite, NonFiniteError
from tracer_lightning.callbacks.progress import Progress
from tracer_lightning.callbacks.report import Report
from tracer_lightning.callbacks.run_checkpoint import RunCheckpoint
from tracer_lightning.callbacks.teacher_statistics import TeacherStatistics
from tracer_lightning.callbacks.teacher_update import TeacherUpdate

__all__ = [
    "BatchSeed",
    "ClipSchedule",
    "NonFinite",
    "NonFiniteError",
    "Progress",
    "Report",
    "RunCheckpoint",
    "TeacherStatistics",
    "TeacherUpdate",
]
