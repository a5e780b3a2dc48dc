"""Evaluation: suites, zero-shot heads, metrics, tables."""

from tracer_lightning.evaluation.answers import AnswerSuite
from tracer_lightning.evaluation.classification import ClassificationSuite, ErrorSuite
from tracer_lightning.evaluation.metrics import ClassificationMetrics
from tracer_lightning.evaluation.module import EvaluationModule
from tracer_lightning.evaluation.retrieval import RetrievalSuite
from tracer_lightning.evaluation.suite import Suite
from tracer_lightning.evaluation.tables import format_score, results_table, results_tables
from tracer_lightning.evaluation.values import DenseSuite, MaskSuite, MultilabelSuite, RegressionSuite

__all__ = [
    "AnswerSuite",
    "ClassificationMetrics",
    "ClassificationSuite",
    "DenseSuite",
    "ErrorSuite",
    "EvaluationModule",
    "MaskSuite",
    "MultilabelSuite",
    "RegressionSuite",
    "RetrievalSuite",
    "Suite",
    "format_score",
    "results_table",
    "results_tables",
]
