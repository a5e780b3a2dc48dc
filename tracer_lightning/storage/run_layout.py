"""Names of the files in a run's folder. :mod:`tracer_lightning.engine.run_folder` is what works with the folder."""

from __future__ import annotations

from pathlib import Path

RESULTS = "results.json"
"""Scores; written last, so that a folder with this file holds a finished run."""
DETAILS = "details.json"
"""Counts per class and per bin of confidence, from which the scores are computed."""
CLASSES = "classes.json"
"""Class names and templates, in the order of the classes of a head; in the folder of an exported model, too."""
CONFIG = "config.yaml"
"""Resolved settings."""
METRICS = "metrics.csv"
"""Metrics logged step by step."""
LOG = "train.log"
"""Messages of the run and its libraries; ``conf/hydra/default.yaml`` names it, too."""
ALIGNMENT = "alignment.safetensors"
"""Embedder after stage 1 of cross-modal fine-tuning, and its figures: a continued run starts from it."""
ALIGNMENT_LOG = "alignment.csv"
"""Losses of stage 1 step by step."""
REPORT = "report.html"
"""Page about the run."""
GRID_FIGURES = ("grid.png", "grid.svg")
"""Heat map of the scores that a suite arranges in rows and columns."""
CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints."""
LAST = "last.ckpt"
"""Current checkpoint, from which a run continues."""
PREVIOUS = "previous.ckpt"
"""Checkpoint before the last one, from which a run continues where the last one is damaged."""
NEXT = "next.ckpt"
"""Complete checkpoint that is not yet the current one: metrics up to it may still be missing."""
CHECKPOINT = f"{CHECKPOINTS}/{LAST}"
"""Path of the current checkpoint within the run's folder."""
RUN_LOCK = ".running"
"""Lock that is held while a run writes in the folder."""
PREREQUISITE_LOCK = "lock"
"""Lock that is held while a prerequisite is trained in the folder."""
HANDED_ON = "handed_on.ckpt"
"""Weights that the next task of a sequence starts from, where they are not the checkpoint's student as it is."""
SEQUENCE = "continual.yaml"
"""Resolved settings of a sequence of tasks, in the folder above those of its tasks."""
CONTINUAL = "continual.json"
"""Scores of a sequence of tasks after each task; written last, so that a folder with this file is finished."""
MERGE = "merge.json"
"""Scores of merged models, in the folder of a merge."""
HYDRA = ".hydra"
"""Folder that Hydra makes in a run's folder before the run writes anything."""


def task_folder(sequence: Path, number: int, name: str) -> Path:
    """Folder of a task of a sequence.

    Args:
        sequence: folder of the sequence.
        number: number of the task, from 1.
        name: name of the task.
    """
    return sequence / f"{number}-{name}"
