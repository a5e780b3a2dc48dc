"""Random numbers that a model draws in training."""

from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from tracer_lightning.callbacks import BatchSeed


class Project(pl.LightningModule):
    """A model with dropout."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Dropout(), nn.Linear(4, 1))

    def training_step(self, batch, batch_idx):
        return (self.model(batch) - 1).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, checkpoint=None):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        accumulate_grad_batches=2,
        callbacks=[BatchSeed(0), ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Project()
    trainer.fit(module, DataLoader(torch.ones(8, 4), 1), ckpt_path=checkpoint, weights_only=True)
    return module.model[1].weight


def test_a_resumed_run_draws_what_an_uninterrupted_one_does(tmp_path):
    whole = fit(tmp_path)
    for step in (4, 6):  # at the end of the first epoch, and within the second
        assert torch.equal(fit(tmp_path / "resumed", tmp_path / f"step={step}.ckpt"), whole)


def test_seeds_epochs_batches_and_ranks_draw_different_numbers():
    def draw(seed, epoch, batch, rank):
        trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
        BatchSeed(seed).on_train_batch_start(trainer, None, None, batch)
        return float(torch.rand(()))

    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    assert len({draw(*key) for key in keys}) == len(keys)
    assert draw(*keys[0]) == draw(*keys[0])


def test_a_negative_seed_raises_an_error():
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        BatchSeed(-1)
