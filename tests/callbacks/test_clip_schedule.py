"""Gradients clipped to a norm that rises along the run."""

import math

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from tracer_lightning.callbacks import ClipSchedule

STEPS = 8


class Project(pl.LightningModule):
    """Moves by its clipped gradient, which is long before."""

    def __init__(self):
        super().__init__()
        self.weights, self.moved = nn.Parameter(torch.zeros(4)), []

    def training_step(self, batch, batch_idx):
        return 100 * self.weights.sum()

    def optimizer_step(self, *args, **kwargs):
        before = self.weights.detach().clone()
        super().optimizer_step(*args, **kwargs)
        self.moved.append((self.weights.detach() - before).norm().item())

    def configure_optimizers(self):
        return torch.optim.SGD([self.weights], lr=1.0)


def fit(tmp_path, module, callback, **options):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, DataLoader(torch.zeros(STEPS, 1), 1))


def test_norms_are_those_of_the_released_schedule(tmp_path):
    module = Project()
    fit(tmp_path, module, ClipSchedule(1e-4, 1e-2))
    expected = [
        1e-4 + (100 * 1e-4 - 1e-4) * 0.5 * (1 - math.cos(math.pi * step / (STEPS - 1))) for step in range(STEPS)
    ]
    assert module.moved == pytest.approx(expected, rel=1e-3)
    assert (module.moved[0], module.moved[-1]) == pytest.approx((1e-4, 1e-2), rel=1e-3)


def test_a_second_clipping_norm_raises_an_error(tmp_path):
    with pytest.raises(ValueError, match="gradient_clip_val=1 conflicts with ClipSchedule; set it to None"):
        fit(tmp_path, Project(), ClipSchedule(1e-4, 1e-2), gradient_clip_val=1.0)


@pytest.mark.parametrize("norms", [(0.0, 1.0), (1.0, math.inf)])
def test_impossible_norms_raise_errors(norms):
    with pytest.raises(ValueError, match="must be a finite number > 0"):
        ClipSchedule(*norms)
