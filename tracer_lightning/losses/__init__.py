"""Losses: each maps :class:`tracer_lightning.types.TermInputs` to a scalar, and knows nothing else."""

from tracer_lightning.losses.anchored import AnchorDivergence, AnchorMatching
from tracer_lightning.losses.augmented import AugmentedFeatureDistillation
from tracer_lightning.losses.composite import CompositeLoss
from tracer_lightning.losses.cross_entropy import CrossEntropy
from tracer_lightning.losses.cross_knowledge import CrossKnowledgeDistillation
from tracer_lightning.losses.feature_distillation import FeatureDistillation
from tracer_lightning.losses.gradient import GradientDistillation
from tracer_lightning.losses.info_nce import InfoNCE
from tracer_lightning.losses.interactive import InteractiveContrastiveLearning
from tracer_lightning.losses.relational import ContrastiveRelationalDistillation
from tracer_lightning.losses.soft_cross_entropy import SoftCrossEntropy

__all__ = [
    "AnchorDivergence",
    "AnchorMatching",
    "AugmentedFeatureDistillation",
    "CompositeLoss",
    "ContrastiveRelationalDistillation",
    "CrossEntropy",
    "CrossKnowledgeDistillation",
    "FeatureDistillation",
    "GradientDistillation",
    "InfoNCE",
    "InteractiveContrastiveLearning",
    "SoftCrossEntropy",
]
