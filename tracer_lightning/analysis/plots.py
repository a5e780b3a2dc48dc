"""Figures, for scripts."""

from tracer_lightning.analysis.reliability import reliability_diagram, reliability_figure

__all__ = ["reliability_diagram", "reliability_figure"]
