"""Choosing what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from tracer_lightning.models.clip import ClipModel


def freeze(model: ClipModel, patterns: Sequence[str]) -> None:
    """Freeze the parameters whose open_clip names match any of the patterns.

    Args:
        model: changed in place.
        patterns: shell-style patterns, such as ``visual.*`` or ``transformer.resblocks.0.*``.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left to train.
    """
    if isinstance(patterns, str):
        raise ValueError(f"method.freeze must be a list, found {patterns!r}; write method.freeze=[{patterns}]")
    parameters = dict(model.model.named_parameters())
    for pattern in patterns:
        matches = [p for name, p in parameters.items() if fnmatchcase(name, pattern)]
        if not matches:
            raise ValueError(
                f"method.freeze: {pattern!r} matches no parameter; names are like {', '.join(list(parameters)[:3])}"
            )
        for parameter in matches:
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"method.freeze: {list(patterns)} leaves nothing to train; freeze less")
