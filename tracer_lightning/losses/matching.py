"""What losses of image-text pairs have in common."""

from __future__ import annotations

from tracer_lightning.functional.matching import MatchingName, find_matching
from tracer_lightning.losses.base import LossTerm
from tracer_lightning.types import ClipFeatures


class MatchingTerm(LossTerm):
    """A function of the probabilities that images and captions match.

    Args:
        matching: ``softmax`` (each image has one caption in the batch, as for CLIP) or ``sigmoid`` (each pair matches
            or not, as for SigLIP); see :mod:`tracer_lightning.functional.matching`.
    """

    features = ClipFeatures
    reads = frozenset({"image", "text", "logit_scale"})

    def __init__(self, matching: MatchingName = "softmax") -> None:
        super().__init__()
        self.matching = find_matching(matching)
        self.reads = self.reads | self.matching.reads
