"""A run as one page of HTML."""

from tracer_lightning.reporting.report.page import render
from tracer_lightning.reporting.report.record import RunRecord

__all__ = ["RunRecord", "render"]
