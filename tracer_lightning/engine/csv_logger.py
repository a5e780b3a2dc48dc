"""A CSV logger whose file survives a kill and is continued with the run."""

from __future__ import annotations

import csv
import warnings
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from tracer_lightning.storage import atomic_file, flush

MetricsRow = dict[str, Any]


class _Writer(ExperimentWriter):
    """A writer that appends rows, and replaces the file atomically where there are new columns.

    Lightning's own writer deletes an existing file, and rewrites it in place.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.path = Path(self.metrics_file_path)
        self.keep_before = 0
        """Step before which the rows of an existing file are kept."""
        self._has_written = False

    def _check_log_dir_exists(self) -> None:
        """Delete nothing: whether the run is continued is only known when the first rows are written."""

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Write no file of settings: the run's folder has them in config.yaml."""

    def save(self) -> None:
        """Write the metrics that were logged since the last call."""
        if not self.metrics:
            return
        new_columns = self._record_new_keys()
        if not self._has_written:
            # a continued run repeats the test before training, whose rows an unbroken run has before all others
            repeated = [row for row in self.metrics if row["step"] < self.keep_before]
            self._rewrite([*repeated, *self._kept(), *self.metrics[len(repeated) :]])
        elif new_columns:
            self._rewrite([*_rows(self.path), *self.metrics])
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.metrics_keys).writerows(self.metrics)
        self._has_written, self.metrics = True, []

    def _kept(self) -> list[MetricsRow]:
        kept = [row for row in _rows(self.path) if int(row["step"]) < self.keep_before and not _is_test_row(row)]
        self.metrics_keys = sorted({*self.metrics_keys, *(name for row in kept for name in row)})
        return kept

    def _rewrite(self, rows: list[MetricsRow]) -> None:
        with atomic_file(self.path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)


class ContinuedCSVLogger(CSVLogger):
    """Lightning's CSVLogger, whose file survives a kill and is continued; the arguments are Lightning's."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of the file."""
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir)
        return self._experiment

    @rank_zero_only
    def continue_from(self, step: int) -> None:
        """Keep the training metrics logged before optimizer step ``step``; tests are run again."""
        self.experiment.keep_before = step

    @rank_zero_only
    def flush(self) -> None:
        """Write all metrics to the disk; called before a checkpoint that includes their step replaces the last one."""
        self.save()
        if self.experiment.path.exists():
            flush(self.experiment.path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the remaining metrics; a failure to do so is only a warning where the run has failed already."""
        try:
            super().finalize(status)
        except OSError as error:
            if status != "failed":
                raise
            warnings.warn(f"metrics.csv could not be completed: {error}", stacklevel=2)


def _rows(path: Path) -> list[MetricsRow]:
    """Complete rows of a file, without empty cells; a kill may have truncated the last one."""
    if not path.is_file():
        return []
    text = path.read_text()
    rows = csv.DictReader(StringIO(text[: text.rfind("\n") + 1]))
    return [
        {name: value for name, value in row.items() if value}
        for row in rows
        if None not in row and None not in row.values() and row.get("step")
    ]


def _is_test_row(row: MetricsRow) -> bool:
    return any(name.startswith("test/") for name in row)
