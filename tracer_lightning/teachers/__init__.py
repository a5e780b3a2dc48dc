"""Teachers: modules made of the student's past. They need nothing else of this package, and no Lightning."""

from tracer_lightning.teachers.averaged import AveragedTeacher
from tracer_lightning.teachers.ema import EMATeacher
from tracer_lightning.teachers.frozen import FrozenTeacher
from tracer_lightning.teachers.none import NoTeacher
from tracer_lightning.teachers.wma import WMATeacher

Teacher = AveragedTeacher | NoTeacher

__all__ = ["AveragedTeacher", "EMATeacher", "FrozenTeacher", "NoTeacher", "Teacher", "WMATeacher"]
