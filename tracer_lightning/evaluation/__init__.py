"""Evaluation: zero-shot heads, metrics, suites, tables."""

from tracer_lightning.evaluation.metrics import ClassificationMetrics, Details
from tracer_lightning.evaluation.module import EvaluationModule
from tracer_lightning.evaluation.suite import AVERAGE, Scores, ZeroShotSuite
from tracer_lightning.evaluation.tables import METRICS, results_table

__all__ = [
    "AVERAGE",
    "METRICS",
    "ClassificationMetrics",
    "Details",
    "EvaluationModule",
    "Scores",
    "ZeroShotSuite",
    "results_table",
]
