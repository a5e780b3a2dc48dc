"""The terminal: our lines and tables, progress bars, warnings worth reading."""

from __future__ import annotations

import logging
import warnings

from lightning.pytorch.utilities import rank_zero_only

from tracer_lightning.reporting.console import PlainConsole, one_line_warnings

HARMLESS = (
    r".*LeafSpec",  # a library's own deprecation
    r"Experiment logs directory",  # Hydra makes the folder before the logger does
    r"Found \d+ module\(s\) in eval mode",  # the teacher
    r"You're resuming from a checkpoint that ended before the epoch",  # our data module continues exactly
    r"The dirpath has changed",  # resume=PATH continues in a folder of its own
    r"Checkpoint directory .* exists and is not empty",
    r".*does not have many workers",
    r"You are using a custom batch sampler",  # which gives every picture once
    r"predict returned None",  # features are kept elsewhere
    r"The `srun` command is available",  # one process needs none
    r"The number of training batches",  # fewer than the logging interval: short runs log their epochs
)

REMARKS = ("`weights_only` was not set", "💡 Tip")
"""How remarks begin that the log has no use for: one for every validation, and an advertisement."""
TALKATIVE = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.trainer.connectors.checkpoint_connector",
)
"""Loggers that make these remarks."""

console = PlainConsole()


@rank_zero_only
def print_rank_zero(text: str) -> None:
    """Print a line once, whatever the number of processes."""
    console.say(text)


def _worth_reading(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(REMARKS)


def quieten() -> None:
    """Send Lightning's remarks to the run's log only, and drop what tells a user nothing."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in TALKATIVE:
        logging.getLogger(name).addFilter(_worth_reading)
    one_line_warnings()
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message=message)
