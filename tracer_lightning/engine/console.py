"""Output to the terminal: lines, tables, and the warnings of libraries that matter to a user."""

from __future__ import annotations

import logging
import warnings

from lightning.pytorch.utilities import rank_zero_only

from tracer_lightning.reporting.console import PlainConsole, one_line_warnings

HARMLESS = (
    r".*LeafSpec",  # deprecation within a library
    r"Experiment logs directory",  # Hydra has made the folder already
    r"Found \d+ module\(s\) in eval mode",  # the teacher's modules
    r"You're resuming from a checkpoint that ended before the epoch",  # the data module continues exactly
    r"The dirpath has changed",  # resume=PATH continues in a folder of its own
    r"Checkpoint directory .* exists and is not empty",
    r".*does not have many workers",
    r"This DataLoader will create",  # more workers than CPUs, which wait for each other
    r"You are using a custom batch sampler",  # the sampler yields every image once
    r"predict returned None",  # the module keeps the features
    r"The `srun` command is available",  # a single process does not need it
    r"The number of training batches",  # short runs have fewer batches than the logging interval
)

REMARKS = ("`weights_only` was not set", "💡 Tip")
"""Beginnings of messages that are dropped from the log, too: one for every validation, and an advertisement."""
NOISY_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.trainer.connectors.checkpoint_connector",
)
"""Loggers that emit these messages."""

console = PlainConsole()


@rank_zero_only
def print_rank_zero(text: str) -> None:
    """Print a line once, whatever the number of processes."""
    console.say(text)


def _is_relevant(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(REMARKS)


def quieten() -> None:
    """Send Lightning's messages to the run's log only, and drop those that are of no use to a user."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in NOISY_LOGGERS:
        logging.getLogger(name).addFilter(_is_relevant)
    one_line_warnings()
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message=message)
