"""Metrics as CSV, kept when a run is continued and when it is killed."""

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

Row = dict[str, Any]


class _Writer(ExperimentWriter):
    """Appends rows, and replaces the file as a whole where it has new columns.

    Lightning's own deletes the file that it finds, and rewrites it in place.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.path = Path(self.metrics_file_path)
        self.keep_before = 0
        """Rows of the file that was found are kept up to this step."""
        self._begun = False

    def _check_log_dir_exists(self) -> None:
        """Nothing is deleted here: the first writing decides, once it is known whether the run is continued."""

    def save(self) -> None:
        """Write what was logged since the last time."""
        if not self.metrics:
            return
        new_columns = self._record_new_keys()
        if not self._begun:
            # a continued run repeats the test before training, whose rows an unbroken run has before all others
            repeated = [row for row in self.metrics if row["step"] < self.keep_before]
            self._rewrite([*repeated, *self._kept(), *self.metrics[len(repeated) :]])
        elif new_columns:
            self._rewrite([*_rows(self.path), *self.metrics])
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.metrics_keys).writerows(self.metrics)
        self._begun, self.metrics = True, []

    def _kept(self) -> list[Row]:
        kept = [row for row in _rows(self.path) if int(row["step"]) < self.keep_before and not _of_a_test(row)]
        self.metrics_keys = sorted({*self.metrics_keys, *(name for row in kept for name in row)})
        return kept

    def _rewrite(self, rows: list[Row]) -> None:
        with atomic_file(self.path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)


class ContinuedCSVLogger(CSVLogger):
    """Lightning's CSVLogger, whose file survives a kill and is continued; the arguments are Lightning's."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What writes the file."""
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir)
        return self._experiment

    @rank_zero_only
    def continue_from(self, step: int) -> None:
        """Keep what was logged in training before optimizer step ``step``; tests are run again."""
        self.experiment.keep_before = step

    @rank_zero_only
    def flush(self) -> None:
        """Have everything on the disk, before a checkpoint that is to be continued from says that it is."""
        self.save()
        if self.experiment.path.exists():
            flush(self.experiment.path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the rest; where the run has failed, the reason matters more than that this fails, too."""
        try:
            super().finalize(status)
        except OSError as error:
            if status != "failed":
                raise
            warnings.warn(f"metrics.csv could not be completed: {error}", stacklevel=2)


def _rows(path: Path) -> list[Row]:
    """The whole rows of a file, without empty cells; a kill may have cut the last one short."""
    if not path.is_file():
        return []
    text = path.read_text()
    rows = csv.DictReader(StringIO(text[: text.rfind("\n") + 1]))
    return [
        {name: value for name, value in row.items() if value}
        for row in rows
        if None not in row and None not in row.values() and row.get("step")
    ]


def _of_a_test(row: Row) -> bool:
    return any(name.startswith("test/") for name in row)
