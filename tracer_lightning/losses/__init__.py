"""Losses of the batch, and regularizers of the weights: each maps its inputs to a scalar, and knows nothing else."""

from tracer_lightning.losses.anchored import AnchorDivergence, AnchorMatching
from tracer_lightning.losses.answers import AnswerCrossEntropy, AnswerKL
from tracer_lightning.losses.augmented import AugmentedFeatureDistillation
from tracer_lightning.losses.base import LossTerm, Regularizer, Term
from tracer_lightning.losses.binary_cross_entropy import BinaryCrossEntropy
from tracer_lightning.losses.cross_entropy import CrossEntropy
from tracer_lightning.losses.cross_frobenius import CrossFrobenius
from tracer_lightning.losses.cross_knowledge import CrossKnowledgeDistillation
from tracer_lightning.losses.ewsd import EWSD
from tracer_lightning.losses.feature_distillation import FeatureDistillation
from tracer_lightning.losses.focal import FocalLoss
from tracer_lightning.losses.gradient import GradientDistillation
from tracer_lightning.losses.head import HeadDivergence
from tracer_lightning.losses.info_nce import InfoNCE
from tracer_lightning.losses.interactive import InteractiveContrastiveLearning
from tracer_lightning.losses.l2_sp import L2SP
from tracer_lightning.losses.ldreg import LDReg
from tracer_lightning.losses.orthogonality import Orthogonality
from tracer_lightning.losses.relational import ContrastiveRelationalDistillation
from tracer_lightning.losses.relative_error import RelativeError
from tracer_lightning.losses.sigmoid import SigmoidLoss
from tracer_lightning.losses.soft_cross_entropy import SoftCrossEntropy
from tracer_lightning.losses.squared_error import SquaredError
from tracer_lightning.losses.weighted_sum import WeightedSum

__all__ = [
    "EWSD",
    "L2SP",
    "AnchorDivergence",
    "AnchorMatching",
    "AnswerCrossEntropy",
    "AnswerKL",
    "AugmentedFeatureDistillation",
    "BinaryCrossEntropy",
    "ContrastiveRelationalDistillation",
    "CrossEntropy",
    "CrossFrobenius",
    "CrossKnowledgeDistillation",
    "FeatureDistillation",
    "FocalLoss",
    "GradientDistillation",
    "HeadDivergence",
    "InfoNCE",
    "InteractiveContrastiveLearning",
    "LDReg",
    "LossTerm",
    "Orthogonality",
    "Regularizer",
    "RelativeError",
    "SigmoidLoss",
    "SoftCrossEntropy",
    "SquaredError",
    "Term",
    "WeightedSum",
]
