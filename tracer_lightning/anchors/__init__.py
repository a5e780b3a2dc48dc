"""Anchor texts, with which image features are compared to measure how far fine-tuning moved them."""

from tracer_lightning.anchors.captions import BatchCaptions
from tracer_lightning.anchors.none import no_anchors
from tracer_lightning.anchors.prompts import ClassPrompts, ContextPrompts
from tracer_lightning.anchors.random_tokens import RandomTokens

__all__ = ["BatchCaptions", "ClassPrompts", "ContextPrompts", "RandomTokens", "no_anchors"]
