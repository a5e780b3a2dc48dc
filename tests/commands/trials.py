"""Experiments on another modality in one process: stage 1 once for each seed, and any number of second stages after it.

They are built as ``train.py`` builds them, but for the callbacks and loggers, which would write files while they train.
"""

from copy import deepcopy
from functools import cache
from typing import NamedTuple

import lightning.pytorch as pl
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tracer_lightning.alignment import Alignment
from tracer_lightning.commands.train import prerequisite_checkpoint
from tracer_lightning.config.alignment import prepare_modality
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import add_head, build_module, build_trainer, build_training_data
from tracer_lightning.config.prerequisite import compose_prerequisite
from tracer_lightning.data import DataModule
from tracer_lightning.models import Backbone


class Aligned(NamedTuple):
    """A model after stage 1."""

    backbone: Backbone
    data: DataModule
    outcome: Alignment | None
    """None where there is no source."""


class Trials:
    """Experiments that share a prerequisite, which is trained in a folder."""

    def __init__(self, folder):
        self._folder = folder
        self._settings, self.aligned = cache(self._settings), cache(self.aligned)

    def _settings(self, overrides):
        """A configuration, with the data of its prerequisite for its source, and the checkpoint that it starts from."""
        with hydra_context():
            cfg = composed(self._folder, *overrides, f"paths.prerequisites={self._folder}/prerequisites", tiny=False)
            for group in ("callbacks", "logger"):
                OmegaConf.update(cfg, group, {}, merge=False)
            start = prerequisite_checkpoint(cfg)
            if start is not None:
                required = OmegaConf.to_container(compose_prerequisite(cfg), resolve=True)
                OmegaConf.update(cfg, "align.source", required["data"], merge=False)
                cfg.prerequisite = None
        return cfg, start

    def _seeded(self, overrides, seed):
        cfg, start = deepcopy(self._settings(overrides))
        cfg.seed = seed
        return cfg, start

    def aligned(self, overrides, seed):
        """The model of an experiment, which a tuple of overrides chooses, after stage 1."""
        cfg, start = self._seeded(overrides, seed)
        pl.seed_everything(seed, verbose=False)
        backbone = build_backbone(cfg, start)
        data = build_training_data(cfg, backbone)
        with hydra_context():
            outcome = prepare_modality(cfg, backbone, data, build_trainer(cfg), None)
        return Aligned(backbone, data, outcome)

    def score(self, overrides, seed, stage_2=()):
        """Accuracy, or RMSE of values, on the test set after the stage 2 that further overrides choose."""
        backbone, data, outcome = self.aligned(overrides, seed)
        backbone = deepcopy(backbone)
        cfg, _ = self._seeded((*overrides, *stage_2), seed)
        trainer = build_trainer(cfg)
        add_head(cfg, backbone.model, data, trainer)
        module = build_module(cfg, backbone, data, None if outcome is None else outcome.transported)
        if any(parameter.requires_grad for parameter in module.student.parameters()):
            trainer.fit(module, datamodule=data)
        trainer.test(module, datamodule=data, verbose=False)
        (scores,) = module.results["student"].values()
        return scores[cfg.primary_metric]
