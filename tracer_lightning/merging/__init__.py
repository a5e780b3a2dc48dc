"""Merge the weights of models, with pure functions of names and tensors."""

from tracer_lightning.merging.fisher import diagonal_fisher, fisher_merge
from tracer_lightning.merging.model_stock import Ratio, mean_cosine, model_stock, stock_ratio
from tracer_lightning.merging.weights import Weights, check_mergeable, mean
from tracer_lightning.merging.wise_ft import wise_ft

__all__ = [
    "Ratio",
    "Weights",
    "check_mergeable",
    "diagonal_fisher",
    "fisher_merge",
    "mean",
    "mean_cosine",
    "model_stock",
    "stock_ratio",
    "wise_ft",
]
