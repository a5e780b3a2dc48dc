"""The steps that commands share: validate, build data and trainer, test, and write results.

A command states only what differs: its models, the module that it tests, and its results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig

from tracer_lightning.config.build import build_data, build_evaluator, build_images
from tracer_lightning.config.validate import validate
from tracer_lightning.data import ClipDataModule, DataModule
from tracer_lightning.engine.console import print_rank_zero, quieten
from tracer_lightning.engine.run_folder import write_json
from tracer_lightning.engine.samples import check_sample_counts, runs_all_test_batches
from tracer_lightning.models import Backbone, ClipModel
from tracer_lightning.reporting.versions import versions
from tracer_lightning.scores import Scores


class Runner:
    """One execution of a command that evaluates finished models.

    Args:
        cfg: composed configuration.
        command: name of the command.

    Raises:
        ValueError: the configuration is invalid.
    """

    def __init__(self, cfg: DictConfig, command: str) -> None:
        quieten()
        validate(cfg, command)
        self.cfg = cfg
        self.folder = Path(cfg.paths.output_dir)
        """Folder that the command writes in."""
        self._began = time.perf_counter()

    @cached_property
    def trainer(self) -> pl.Trainer:
        """The trainer, built when it is first used."""
        return build_evaluator(self.cfg)

    def build_data(self, backbone: Backbone) -> DataModule:
        """The data module for the backbone's inputs, without training data."""
        data = build_data(self.cfg, backbone)
        data.trains = False
        return data

    def build_images(self, backbone: Backbone, purpose: str) -> ClipDataModule:
        """The data module of a command for images and captions, without training data.

        Args:
            backbone: backbone whose inputs the data are prepared for.
            purpose: what needs images and captions, for errors.

        Raises:
            ValueError: the model or the data are of another family.
        """
        require_clip([backbone], purpose)
        require_images(self.cfg, purpose)
        data = build_images(self.cfg, backbone)
        data.trains = False
        return data

    def test(self, module: pl.LightningModule, data: DataModule) -> None:
        """Run the module over the test sets."""
        self.trainer.test(module, datamodule=data, verbose=False)

    def check_counts(self, scores: Scores, data: DataModule) -> None:
        """Raise ValueError where test samples are missing, unless the number of batches is limited."""
        if runs_all_test_batches(self.trainer):
            check_sample_counts(scores, data)

    def finish(
        self,
        file: str,
        results: Mapping[str, Any],
        report: Callable[[dict[str, Any]], object],
        contents: str,
    ) -> dict[str, Any]:
        """Complete the results and, in the first process, write and report them.

        Args:
            file: name of the JSON file.
            results: results without versions and seconds.
            report: writes the other files and prints tables, given the complete results.
            contents: what the folder then holds, for the last line of output.

        Returns:
            The content of the JSON file.
        """
        seconds = round(time.perf_counter() - self._began, 1)
        complete = {**results, "versions": versions(), "seconds": seconds}
        if self.trainer.is_global_zero:
            write_json(self.folder / file, complete)
            report(complete)
            print_rank_zero(f"{seconds} s; {contents} are in {self.folder}")
        return complete


def require_clip(backbones: Iterable[Backbone], purpose: str) -> None:
    """Raise ValueError for a model of another family than CLIP's.

    Args:
        backbones: models to check.
        purpose: what needs images and captions, for errors.
    """
    for backbone in backbones:
        if not isinstance(backbone.model, ClipModel):
            family = type(backbone.model).__name__
            raise ValueError(f"{purpose} is for models of images and captions, and the backbone is a {family}")


def require_images(cfg: DictConfig, purpose: str) -> None:
    """Raise ValueError for a model with an embedder of another modality.

    Args:
        cfg: configuration with ``embedder``.
        purpose: what needs images, for errors.
    """
    if cfg.embedder:
        raise ValueError(f"{purpose} is for images, and the backbone has an embedder of another modality")


def require_file(out: str) -> Path:
    """The file ``out`` to write, in a folder that exists from now on.

    Raises:
        ValueError: it is a folder, or its folder can't be written to.
    """
    path = Path(out)
    if path.is_dir():
        raise ValueError(f"out={out}: a folder; give the path of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(
            f"out={out}: can't be written to {path.parent} ({error.strerror}); choose another place"
        ) from error
    return path


def require_new_folder(out: str) -> Path:
    """The folder ``out``, which must be empty or not exist yet.

    Raises:
        ValueError: it has content, is to be within a file, or can't be renamed into place.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"out={folder}: exists already; choose another place")
    parent = next(path for path in folder.absolute().parents if path.exists())
    if not parent.is_dir():
        raise ValueError(f"out={folder}: {parent} is a file; choose another place")
    if folder.is_mount() or folder.resolve() == Path.cwd():
        raise ValueError(f"out={folder}: can't be written atomically; choose a folder within it")
    return folder
