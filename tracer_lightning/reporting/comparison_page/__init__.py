"""Comparison of runs as one HTML page."""

from tracer_lightning.reporting.comparison_page.curves import curve_panels
from tracer_lightning.reporting.comparison_page.groups import Groups
from tracer_lightning.reporting.comparison_page.page import render
from tracer_lightning.reporting.comparison_page.scatter import scatters

__all__ = ["Groups", "curve_panels", "render", "scatters"]
