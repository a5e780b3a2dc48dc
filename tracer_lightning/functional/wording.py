"""Numbers of things in messages."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """Format a number of things, such as ``1 caption is`` and ``2 captions are``.

    Args:
        count: the number.
        one: words for one of them.
        many: words for another number; None for ``one`` with an s.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
