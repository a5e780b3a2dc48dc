"""Evaluation of finished models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from torch import nn

from tracer_lightning.evaluation.suite import Suite
from tracer_lightning.scores import Scores
from tracer_lightning.types import Batch


class EvaluationModule(pl.LightningModule):
    """Tests several models in one pass over the data: ``trainer.test(EvaluationModule(...), data)``.

    Args:
        models: name to model, names that the suite knows.
        suite: the data sets, in the order of their loaders.
        untrained: score the models without what was made for a task, such as heads.
    """

    def __init__(self, models: Mapping[str, nn.Module], suite: Suite, untrained: bool = False) -> None:
        super().__init__()
        self.untrained = untrained
        self.models = nn.ModuleDict(models)
        self.suite = suite
        self.results: dict[str, Scores] = {}
        """Scores by model."""
        self.temperatures: dict[str, Any] = {}
        """The fitted temperature of each model and its ECE there; empty where none was asked for."""

    def configure_model(self) -> None:
        """Shard nothing, where the strategy would have one do so: nothing is trained."""

    def on_test_epoch_start(self) -> None:
        """Build the heads."""
        with self.trainer.precision_plugin.test_step_context():  # as in the steps, for heads made of texts
            self.suite.start(dict(self.models.items()), self.untrained)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count a batch of one data set."""
        self.suite.update(batch, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Keep the results, while the metrics are on the device that ranks exchange them from."""
        self.results = self.suite.finish()
        temperatures: Any = getattr(self.suite, "temperatures", {})
        self.temperatures = {name: scaling.compute() for name, scaling in temperatures.items()}
