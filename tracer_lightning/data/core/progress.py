"""Progress of long work outside of training steps."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

DELAY = 2.0
"""Seconds after which the progress is shown."""
TERMINAL_INTERVAL, LOG_INTERVAL = 0.1, 30.0
"""Seconds between two lines on a terminal, and in a log."""


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm[Any]:
    """Progress bar on standard error, which leaves only a line every half a minute in a log.

    Args:
        iterable: work; None to count by hand.
        options: ``desc``, ``unit``, ``total`` and further options of ``tqdm``.
    """
    interval = TERMINAL_INTERVAL if sys.stderr.isatty() else LOG_INTERVAL
    return tqdm(iterable, delay=DELAY, mininterval=interval, **options)
