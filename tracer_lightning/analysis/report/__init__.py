"""A run as one page of HTML."""

from tracer_lightning.analysis.report.page import render
from tracer_lightning.analysis.report.record import RunRecord

__all__ = ["RunRecord", "render"]
