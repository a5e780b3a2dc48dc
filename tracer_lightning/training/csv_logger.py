"""Metrics as CSV, kept when a run is continued."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only


class ContinuedCSVLogger(CSVLogger):
    """Lightning's CSVLogger, which by itself deletes the file that it finds."""

    @rank_zero_only
    def continue_from(self, step: int) -> None:
        """Keep what was logged in training before optimizer step ``step``; tests are run again."""
        path = Path(self.log_dir) / "metrics.csv"
        if not path.exists():
            return
        with path.open(newline="") as file:
            rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
        writer: Any = self.experiment
        writer.metrics = [
            row for row in rows if int(row["step"]) < step and not any(name.startswith("test/") for name in row)
        ]
