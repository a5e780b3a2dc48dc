"""Evaluation: suites, zero-shot heads, metrics, tables."""

from tracer_lightning.evaluation.answers import AnswerSuite
from tracer_lightning.evaluation.classification import CLASSIFICATION, ClassificationSuite, ErrorSuite
from tracer_lightning.evaluation.metrics import ClassificationMetrics
from tracer_lightning.evaluation.module import EvaluationModule
from tracer_lightning.evaluation.retrieval import RetrievalSuite
from tracer_lightning.evaluation.suite import (
    AVERAGE,
    AVERAGE_OTHER,
    ROLE_TITLES,
    Details,
    Metric,
    ScoreGrid,
    Scores,
    Suite,
    headline_of,
    sets_by_kind,
)
from tracer_lightning.evaluation.tables import format_score, results_table, results_tables
from tracer_lightning.evaluation.values import DenseSuite, MaskSuite, MultilabelSuite, RegressionSuite

METRICS = tuple(metric.name for metric in CLASSIFICATION if metric.shown)

__all__ = [
    "AVERAGE",
    "AVERAGE_OTHER",
    "CLASSIFICATION",
    "METRICS",
    "ROLE_TITLES",
    "AnswerSuite",
    "ClassificationMetrics",
    "ClassificationSuite",
    "DenseSuite",
    "Details",
    "ErrorSuite",
    "EvaluationModule",
    "MaskSuite",
    "Metric",
    "MultilabelSuite",
    "RegressionSuite",
    "RetrievalSuite",
    "ScoreGrid",
    "Scores",
    "Suite",
    "format_score",
    "headline_of",
    "results_table",
    "results_tables",
    "sets_by_kind",
]
