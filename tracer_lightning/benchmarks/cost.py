"""Costs of a training step, computed from the sizes of the model, the batch and the number of ranks.

The costs are those of the algorithms: floating-point operations of matrix products (a multiplication and an addition
count as two), bytes received by a rank, and bytes held by a rank. Tests state which of them are exact; the activations'
memory is an estimate. No device is used.
"""

from __future__ import annotations

from typing import NamedTuple

from tracer_lightning.benchmarks.sizes import ClipSizes, padded

SINGLE, LABEL = 4, 8
"""Number of bytes of a weight, gradient, feature or logit, and of a label."""
FLYP_PRODUCTS, TRACER_PRODUCTS = 6, 24
"""Numbers of products of the size (B, D) x (D, B) in a step, forward and backward, of InfoNCE and TRACER's losses."""
TRACER_MATRICES = 20
"""Number of matrices (B, B) that TRACER's losses keep for their backward pass."""
SAVED_PER_TOKEN = 16
"""Numbers that a block keeps for its backward pass per token and unit of width, with an MLP four times as wide."""
SAVED_BY_LAST = 4
"""The same for the image tower's last block, which computes the class token only: its input, keys and values."""


def step_flops(sizes: ClipSizes, batch: int, ranks: int, tokens: int, teacher: bool, pools_first: bool = True) -> int:
    """Floating-point operations of one rank in one training step of FLYP, or of TRACER.

    The student's backward pass takes twice its forward pass, except for the pixels, which need no gradient.
    Recomputation that saves memory is not counted. Every rank computes the losses of the global batch.

    Args:
        sizes: sizes of student and teacher.
        batch: number of pairs on this rank.
        ranks: number of ranks of the run.
        tokens: length L of each text.
        teacher: True for TRACER, False for FLYP.
        pools_first: as for :meth:`tracer_lightning.benchmarks.sizes.ClipSizes.forward_flops`.
    """
    passes = 4 if teacher else 3
    towers = batch * (passes * sizes.forward_flops(tokens, pools_first) - sizes.patch_flops)
    return towers + similarity_flops(sizes.dim, batch * ranks, TRACER_PRODUCTS if teacher else FLYP_PRODUCTS)


def similarity_flops(dim: int, batch: int, products: int) -> int:
    """Floating-point operations of ``products`` products of the features (B, D) of a global batch."""
    return products * 2 * batch * batch * dim


class Traffic(NamedTuple):
    """Bytes that one rank receives in one training step."""

    features: float
    """Features and labels of other ranks."""
    returned: float
    """Gradients of this rank's features."""
    weights: float
    """Other ranks' shards of student and teacher; 0 if every rank has all weights."""
    gradients: float
    """Gradients of the weights, reduced in a ring."""

    @property
    def total(self) -> float:
        """All received bytes; as many are sent."""
        return sum(self)


def traffic(sizes: ClipSizes, batch: int, ranks: int, teacher: bool, shards: int = 1) -> Traffic:
    """Compute the bytes that a rank receives in a training step in which all weights are trained.

    Args:
        sizes: sizes of student and teacher.
        batch: number of pairs on this rank.
        ranks: number of ranks of the run.
        teacher: True for TRACER, False for FLYP.
        shards: number of shards of the weights; 1 is DDP. With more, as under FSDP, each shard has ranks / shards
            copies: one shard per GPU of a machine. Shards consist of whole rows, padded to the same size.
    """
    pairs = 2 * batch * sizes.dim * SINGLE  # image and text features of one rank
    others, copies = ranks - 1, ranks // shards
    block_size = padded(sizes.block_shapes, shards)
    sharded = block_size + padded(sizes.rest_shapes, shards)
    reduced = sharded // shards if shards > 1 else sizes.parameters  # the logit scale is not sharded
    missing = sharded - sharded // shards
    return Traffic(
        features=others * (pairs * (1 + teacher) + batch * LABEL),
        returned=others * pairs,
        weights=(missing * (1 + teacher) + block_size - block_size // shards) * SINGLE,
        gradients=(missing + 2 * (copies - 1) / copies * reduced) * SINGLE,
    )


class RankMemory(NamedTuple):
    """Bytes that a rank holds at the end of the forward pass."""

    student: float
    """Weights, gradients and AdamW's two moments."""
    teacher: float
    """Weights of the teacher."""
    buckets: float
    """Buckets in which DDP sends gradients."""
    gathered: float
    """Weights that sharded training gathers: the student's outside its blocks, and two blocks of the wider tower."""
    activations: float
    """Estimated activations, with 16-bit numbers."""
    features: float
    """Features of the global batch, of student and teacher."""
    logits: float
    """Matrices (B, B) in single precision."""

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return sum(self)


def memory(sizes: ClipSizes, batch: int, ranks: int, tokens: int, shards: int = 1) -> RankMemory:
    """Compute the bytes that TRACER holds on a rank under ``bf16-mixed``, without activation checkpointing.

    Args:
        sizes: sizes of student and teacher.
        batch: number of pairs on this rank.
        ranks: number of ranks of the run.
        tokens: length L of each text.
        shards: as for :func:`traffic`.
    """
    weights = sizes.parameters / shards * SINGLE
    image = (sizes.patches + 1) * sizes.image.width * (SAVED_PER_TOKEN * (sizes.image.layers - 1) + SAVED_BY_LAST)
    text = tokens * sizes.text.width * SAVED_PER_TOKEN * sizes.text.layers
    largest_block = max(padded(tower.shapes, 1) / tower.layers for tower in (sizes.image, sizes.text))
    return RankMemory(
        student=4 * weights,
        teacher=weights,
        buckets=weights if shards == 1 and ranks > 1 else 0,
        gathered=SINGLE * (sizes.parameters - sizes.block_parameters + 2 * largest_block) if shards > 1 else 0,
        activations=2 * batch * (image + text),
        features=2 * 2 * batch * ranks * sizes.dim * SINGLE,
        logits=TRACER_MATRICES * (batch * ranks) ** 2 * SINGLE,
    )


class Cluster(NamedTuple):
    """Assumed properties of the machines."""

    peak: float
    """Peak operations per second of one GPU, as specified by its vendor."""
    utilisation: float
    """Share of the peak that is reached, in (0, 1]."""
    machine: int
    """Number of GPUs of a machine."""
    within: float
    """Bytes per second that a GPU receives from others of its machine."""
    between: float
    """Bytes per second that a GPU receives in rings over several machines."""

    def compute_seconds(self, flops: float) -> float:
        """Seconds of computation."""
        return flops / (self.peak * self.utilisation)

    def transfer_seconds(self, received: float, ranks: int) -> float:
        """Seconds to transfer the bytes that each rank receives, without overlap with computation."""
        return received / (self.within if ranks <= self.machine else self.between)


H100S = Cluster(peak=989e12, utilisation=0.37, machine=8, within=450e9, between=400e9)
"""H100s with dense bf16, NVLink 4 and eight adapters of 400 Gbit/s per machine, all of which the rings use."""
