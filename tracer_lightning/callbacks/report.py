"""Report of a run as an HTML page in its folder."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from tracer_lightning.callbacks.change_watch import ChangeWatch
from tracer_lightning.engine.run_folder import (
    ALIGNMENT_LOG,
    CHECKPOINT,
    CONFIG,
    DETAILS,
    GRID_FIGURES,
    LOG,
    METRICS,
    REPORT,
    RESULTS,
)
from tracer_lightning.engine.signals import Stopped
from tracer_lightning.phases import phase, seconds_by_phase
from tracer_lightning.reporting.alignment_paths import alignment_curves
from tracer_lightning.reporting.grid import draw_grid
from tracer_lightning.reporting.report.page import render
from tracer_lightning.reporting.report.record import MODELS, UNTRAINED, RunRecord
from tracer_lightning.reporting.style import save, style
from tracer_lightning.reporting.training_curves import Curve, read_curves
from tracer_lightning.reporting.versions import versions
from tracer_lightning.reporting.worst_pairs import WorstPair, collect_worst
from tracer_lightning.scores import Details, Scores
from tracer_lightning.storage import write_text
from tracer_lightning.types import Batch

DURATION = "training took"
MAX_PAIRS = 6
"""Maximum number of worst pairs of each direction."""
FILES = {
    RESULTS: "all scores",
    DETAILS: "the counts behind the scores, per class and per bin of confidence",
    METRICS: "what was logged, step by step",
    ALIGNMENT_LOG: "stage 1, step by step",
    CONFIG: "the settings",
    CHECKPOINT: "weights and the state to continue from",
    LOG: "console messages",
    **dict.fromkeys(GRID_FIGURES, "the scores by rows and columns, as a heat map"),
}
WRITTEN_LATER = (RESULTS, DETAILS)
"""Files that are written after this report."""
log = logging.getLogger(__name__)


class Report(pl.Callback):
    """Write ``report.html``: settings, scores before and after training, curves, calibration, classes.

    A test before the fit is the baseline of the test after it. A run that ends with an exception also writes a report.
    The curves are read from the run's ``metrics.csv``, which includes the steps before a resumption.

    Args:
        dirpath: folder of the run.
        images: number of forgotten images, and of learned ones, to show per dataset; 0 for none. This keeps a copy of
            the model before training, and makes the last test two to three times as long.
    """

    def __init__(self, dirpath: str, images: int = 0) -> None:
        if images < 0:
            raise ValueError(f"images must be >= 0, got {images}")
        self.dirpath = Path(dirpath)
        self._watch = ChangeWatch(images) if images else None
        self._scores: dict[str, Scores] = {}
        self._details: dict[str, dict[str, Details]] = {}
        self._started: float | None = None
        self._facts: dict[str, str] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._started, self._facts = time.perf_counter(), {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Record the step at which the run was resumed."""
        if trainer.global_step:
            self._facts["continued at step"] = f"{trainer.global_step:,}"

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Record the duration of training."""
        self._record_duration(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start the comparison with the model before training."""
        if self._watch is not None:
            self._watch.start(pl_module, trainer)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compare the models on a batch."""
        if self._watch is not None:
            with trainer.precision_plugin.test_step_context():
                self._watch.update(batch, dataloader_idx)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Keep the scores before training; after training, write the report."""
        if not self._scores and self._started is None:
            self._scores = {UNTRAINED: pl_module.results["student"]}
            self._details = {UNTRAINED: pl_module.details["student"]}
            if self._watch is not None:
                self._watch.keep(pl_module.student)
            return
        self._scores |= pl_module.results
        self._details |= pl_module.details
        self._write(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Write a report of a run that fails during or after training."""
        if self._started is not None:
            if DURATION not in self._facts:
                self._record_duration(trainer)
            self._write(trainer, pl_module, _describe(exception))

    def _record_duration(self, trainer: pl.Trainer) -> None:
        assert self._started is not None
        seconds = round(time.perf_counter() - self._started)
        duration = f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
        self._facts = {"steps": f"{trainer.global_step:,}", **self._facts, DURATION: duration}

    @phase("report")
    def _write(self, trainer: pl.Trainer, pl_module: Any, problem: str = "") -> None:
        """Write the report; errors become warnings, so that they don't cost the run its results."""
        try:
            changes = None if self._watch is None or problem else self._watch.finish()  # a collective operation
            if not trainer.is_global_zero:
                return
            record = self._record(trainer, pl_module, problem)
            self._draw_grid(record)
            if self._watch is not None and changes is not None:
                data: Any = trainer.datamodule  # type: ignore[attr-defined]
                record = record._replace(changed=self._watch.changed_images(changes, data))
            page = render(record)
            write_text(self.dirpath / REPORT, page)
        except Exception as error:
            log.exception("the report failed")
            warnings.warn(f"{REPORT} could not be written: {type(error).__name__}: {error}", stacklevel=2)

    def _draw_grid(self, record: RunRecord) -> None:
        """Write the heat map of the scores, where the suite arranges them in rows and columns."""
        if record.grid is None:
            return
        results = {model: record.scores[model] for model in MODELS if model in record.scores}
        with style():
            figure = draw_grid(record.grid, results, record.headline, MODELS)
            for name in GRID_FIGURES:
                save(figure, self.dirpath / name)

    def _record(self, trainer: pl.Trainer, pl_module: Any, problem: str) -> RunRecord:
        settings: Mapping[str, Any] = dict(pl_module.hparams)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        method = settings.get("method", {}).get("name", "")
        seed = f"seed {settings['seed']}" if "seed" in settings else ""
        now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        grid = pl_module.test.grid() if self._scores else None
        later = (*(WRITTEN_LATER if not problem else ()), *(GRID_FIGURES if grid is not None else ()))
        files = {
            name: description for name, description in FILES.items() if name in later or (self.dirpath / name).exists()
        }
        return RunRecord(
            title=" · ".join(part for part in (settings.get("name", "run"), method, seed) if part),
            settings=settings,
            scores=self._scores,
            details=self._details,
            labels={eval_set.name: data.label_names(eval_set) for eval_set in data.eval_sets},
            curves={**_curves(trainer), **alignment_curves(self.dirpath / ALIGNMENT_LOG)},
            facts={"date": now, **self._facts, **_time_so_far()},
            versions=versions(),
            files=files,
            problem=problem,
            declared=pl_module.test.metrics,
            worst_pairs=self._worst_pairs(data),
            grid=grid,
            alignment=pl_module.prepared.get("alignment"),
        )

    def _worst_pairs(self, data: Any) -> dict[str, list[WorstPair]]:
        """Worst pairs of the student, or else of the model before training, on each set with captions."""
        details = self._details.get("student", self._details.get(UNTRAINED, {}))
        pairs = {}
        for eval_set in data.eval_sets:
            if worst := details.get(eval_set.name, {}).get("worst"):
                read_image = partial(_read_image, data.eval_dataset(eval_set))
                pairs[eval_set.name] = collect_worst(worst, data.captions(eval_set), read_image, MAX_PAIRS)
        return pairs


def _read_image(dataset: Any, index: int) -> Tensor:
    """Read (3, H, W) uint8 of an image of an evaluation set."""
    image: Tensor = dataset[0, index].image
    return image


def _time_so_far() -> dict[str, str]:
    """The phases of the run that took a second or more, without the report itself."""
    phases = {name: seconds for name, seconds in seconds_by_phase().items() if name != "report" and seconds >= 1}
    return {"time": ", ".join(f"{name} {seconds:.0f} s" for name, seconds in phases.items())} if phases else {}


def _describe(exception: BaseException) -> str:
    if isinstance(exception, KeyboardInterrupt):
        return "it was interrupted"
    if isinstance(exception, Stopped):
        return f"it was stopped by {exception.signum.name}"
    return f"{type(exception).__name__}: {exception}" if str(exception) else type(exception).__name__


def _curves(trainer: pl.Trainer) -> dict[str, Curve]:
    """Read all logged metrics, after flushing the logger's buffered rows."""
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            logger.save()
            return read_curves(Path(logger.log_dir) / logger.experiment.NAME_METRICS_FILE)
    return {}
