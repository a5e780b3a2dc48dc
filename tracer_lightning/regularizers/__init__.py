"""Regularizers: each maps the student, and the features of the batch, to a scalar."""

from tracer_lightning.regularizers.cross_frobenius import CrossFrobenius
from tracer_lightning.regularizers.ewsd import EWSD
from tracer_lightning.regularizers.l2_sp import L2SP
from tracer_lightning.regularizers.ldreg import LDReg
from tracer_lightning.regularizers.orthogonality import Orthogonality

__all__ = ["EWSD", "L2SP", "CrossFrobenius", "LDReg", "Orthogonality"]
