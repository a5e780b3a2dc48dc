"""What a training step costs, counted from the sizes of the model, the batch and the number of ranks.

Counts are of what the algorithms must do: floating-point operations of matrix products (one multiplication and one
addition are two), bytes that arrive at a rank, bytes that a rank holds. They are exact where a test says so; the
activations' memory is an estimate. Nothing here looks at a device.
"""

from __future__ import annotations

from typing import NamedTuple

from tracer_lightning.benchmarks.sizes import ClipSizes, padded

SINGLE, LABEL = 4, 8
"""Bytes of a weight, gradient, feature or logit, and of a label."""
FLYP_PRODUCTS, TRACER_PRODUCTS = 6, 24
"""Products (B, D) x (D, B) or of that size in a step, forward and backward, of InfoNCE and of TRACER's five losses."""
TRACER_MATRICES = 20
"""Matrices (B, B) that TRACER's losses keep for their backward pass."""
SAVED_PER_TOKEN = 16
"""Numbers that a block keeps for its backward pass, per token and unit of its width, with an MLP four times as wide."""
SAVED_BY_LAST = 4
"""Those that the image tower's last block keeps, which computes the class token only: its input, keys and values."""


def step_flops(sizes: ClipSizes, batch: int, ranks: int, tokens: int, teacher: bool, pools_first: bool = True) -> int:
    """Floating-point operations of one rank in one training step of FLYP, or of TRACER.

    The student's backward pass takes twice its forward pass, but for the pixels, which need no gradient. What is
    computed a second time to save memory is not counted. The losses are those of the global batch on every rank.

    Args:
        sizes: of student and teacher.
        batch: pairs on this rank.
        ranks: of the whole run.
        tokens: L, of each text.
        teacher: TRACER, or else FLYP.
        pools_first: as for :meth:`tracer_lightning.benchmarks.sizes.ClipSizes.forward_flops`.
    """
    passes = 4 if teacher else 3
    towers = batch * (passes * sizes.forward_flops(tokens, pools_first) - sizes.patch_flops)
    return towers + similarity_flops(sizes.dim, batch * ranks, TRACER_PRODUCTS if teacher else FLYP_PRODUCTS)


def similarity_flops(dim: int, batch: int, products: int) -> int:
    """Of so many products of the features (B, D) of a global batch, forward and backward."""
    return products * 2 * batch * batch * dim


class Traffic(NamedTuple):
    """Bytes of one rank in one training step."""

    features: float
    """That arrive of other ranks' features and labels."""
    returned: float
    """That arrive of the gradients of this rank's features."""
    weights: float
    """That arrive of other ranks' shards, of student and teacher; 0 where every rank has all."""
    gradients: float
    """That arrive of the weights' gradients, in a ring."""

    @property
    def total(self) -> float:
        """All that arrive; as many leave."""
        return sum(self)


def traffic(sizes: ClipSizes, batch: int, ranks: int, teacher: bool, shards: int = 1) -> Traffic:
    """What arrives at a rank in a training step with everything trained.

    Args:
        sizes: of student and teacher.
        batch: pairs on this rank.
        ranks: of the whole run.
        teacher: TRACER, or else FLYP.
        shards: that the weights are kept in; 1 is ``trainer=ddp``. With more, copies of a shard are on ranks / shards
            of them (``trainer=fsdp``: GPUs of a machine). Shards are of whole rows, and padded to the same size.
    """
    pairs = 2 * batch * sizes.dim * SINGLE  # image and text features of one rank
    others, copies = ranks - 1, ranks // shards
    blocks = padded(sizes.block_shapes, shards)
    cut = blocks + padded(sizes.rest_shapes, shards)
    reduced = cut // shards if shards > 1 else sizes.parameters  # the logit scale is not cut
    missing = cut - cut // shards
    return Traffic(
        features=others * (pairs * (1 + teacher) + batch * LABEL),
        returned=others * pairs,
        weights=(missing * (1 + teacher) + blocks - blocks // shards) * SINGLE,
        gradients=(missing + 2 * (copies - 1) / copies * reduced) * SINGLE,
    )


class Memory(NamedTuple):
    """Bytes that a rank holds at the end of the forward pass."""

    student: float
    """Weights, gradients and AdamW's two moments."""
    teacher: float
    buckets: float
    """In which DDP sends gradients."""
    gathered: float
    """Weights of the student outside its blocks, and two blocks' of the wider tower, whole in sharded training."""
    activations: float
    """An estimate, with 16-bit numbers."""
    features: float
    """Of the global batch, of student and teacher."""
    logits: float
    """Matrices (B, B), in single precision."""

    @property
    def total(self) -> float:
        """All."""
        return sum(self)


def memory(sizes: ClipSizes, batch: int, ranks: int, tokens: int, shards: int = 1) -> Memory:
    """What TRACER holds on a rank, with weights in single precision under ``bf16-mixed``, nothing computed twice.

    Args:
        sizes: of student and teacher.
        batch: pairs on this rank.
        ranks: of the whole run.
        tokens: L, of each text.
        shards: as for :func:`traffic`.
    """
    weights = sizes.parameters / shards * SINGLE
    image = (sizes.patches + 1) * sizes.image.width * (SAVED_PER_TOKEN * (sizes.image.layers - 1) + SAVED_BY_LAST)
    text = tokens * sizes.text.width * SAVED_PER_TOKEN * sizes.text.layers
    whole = max(padded(tower.shapes, 1) / tower.layers for tower in (sizes.image, sizes.text))
    return Memory(
        student=4 * weights,
        teacher=weights,
        buckets=weights if shards == 1 and ranks > 1 else 0,
        gathered=SINGLE * (sizes.parameters - sizes.block_parameters + 2 * whole) if shards > 1 else 0,
        activations=2 * batch * (image + text),
        features=2 * 2 * batch * ranks * sizes.dim * SINGLE,
        logits=TRACER_MATRICES * (batch * ranks) ** 2 * SINGLE,
    )


class Cluster(NamedTuple):
    """What is assumed of the machines."""

    peak: float
    """Operations a second of one GPU, as its maker says."""
    utilisation: float
    """Share of them that is reached, in (0, 1]."""
    machine: int
    """GPUs of a machine."""
    within: float
    """Bytes a second that reach a GPU from others of its machine."""
    between: float
    """Bytes a second that reach a GPU in rings over several machines."""

    def computing(self, flops: float) -> float:
        """Seconds."""
        return flops / (self.peak * self.utilisation)

    def sending(self, arriving: float, ranks: int) -> float:
        """Seconds of bytes that arrive at each rank, none of them hidden."""
        return arriving / (self.within if ranks <= self.machine else self.between)


H100S = Cluster(peak=989e12, utilisation=0.4, machine=8, within=450e9, between=400e9)
"""Dense bf16; NVLink 4; eight adapters of 400 Gbit/s in a machine, each of which rings cross it by."""
