"""Heads that pretrain the image tower."""

from __future__ import annotations

from typing import Any

from torch import nn

from tracer_lightning.models.answering.model import AnsweringModel


def tower_head(model: AnsweringModel, positions: int, **context: Any) -> nn.Linear:
    """A head that predicts each token of an answer from the mean feature of the image tower.

    Args:
        model: model whose tower is pretrained.
        positions: number of tokens of the longest answer, its end included.
        context: unused.
    """
    if not isinstance(model, AnsweringModel):
        raise ValueError(f"model must answer questions, got a {type(model).__name__}; choose another head")
    if positions < 1:
        raise ValueError(f"positions must be >= 1, got {positions}")
    config = model.model.config
    return nn.Linear(config.vision_config.hidden_size, positions * config.get_text_config().vocab_size)
