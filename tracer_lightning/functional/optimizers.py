"""Optimizers."""

from __future__ import annotations

from typing import Any

import torch


class AdamW(torch.optim.AdamW):
    """torch's AdamW as one pass over weights, gradients and state, where it can also be clipped in mixed precision.

    torch's own declares that it unscales gradients itself, for which Lightning refuses to clip them, even in bf16,
    where nothing is scaled. This one leaves unscaling to the scaler.

    Args:
        params: as for ``torch.optim.AdamW``.
        options: its others, such as ``lr``, ``betas``, ``eps`` and ``weight_decay``.
    """

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, fused=True, **options)
        self._step_supports_amp_scaling = False
