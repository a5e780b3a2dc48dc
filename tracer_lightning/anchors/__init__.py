"""Anchor texts: what images are compared with, besides the captions of their batch, to see how far features moved."""

from tracer_lightning.anchors.captions import BatchCaptions
from tracer_lightning.anchors.none import no_anchors
from tracer_lightning.anchors.prompts import ClassPrompts, ContextPrompts
from tracer_lightning.anchors.random_tokens import RandomTokens

__all__ = ["BatchCaptions", "ClassPrompts", "ContextPrompts", "RandomTokens", "no_anchors"]
