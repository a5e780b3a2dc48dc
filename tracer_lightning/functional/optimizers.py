"""Optimizers."""

from __future__ import annotations

from typing import Any

import torch


class AdamW(torch.optim.AdamW):
    """Fused AdamW whose gradients Lightning can clip in mixed precision.

    torch's fused AdamW declares that it unscales gradients itself, so that Lightning refuses to clip them, even in
    bf16, which uses no scaling. This one leaves unscaling to the gradient scaler.

    Args:
        params: as for ``torch.optim.AdamW``.
        options: further options, such as ``lr``, ``betas``, ``eps`` and ``weight_decay``.
    """

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, fused=True, **options)
        self._step_supports_amp_scaling = False
