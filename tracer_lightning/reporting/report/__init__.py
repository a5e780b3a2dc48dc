"""Report on a run as one HTML page."""

from tracer_lightning.reporting.report.page import render
from tracer_lightning.reporting.report.record import RunRecord

__all__ = ["RunRecord", "render"]
