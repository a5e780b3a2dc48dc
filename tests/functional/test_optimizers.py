import copy

import lightning.pytorch as pl
import pytest
import torch

from tracer_lightning.functional.optimizers import AdamW

OPTIONS = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.2}


def test_it_is_adamw():
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(5, 3, dtype=torch.double)), torch.nn.Parameter(torch.randn(3).double())]
    theirs = copy.deepcopy(ours)
    our_optimizer, their_optimizer = AdamW(ours, **OPTIONS), torch.optim.AdamW(theirs, foreach=False, **OPTIONS)
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        our_optimizer.step()
        their_optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert our_optimizer.param_groups[0]["fused"]


class Line(pl.LightningModule):
    """Its gradient is far above 1."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1, bias=False)

    def training_step(self, batch, index):
        self.layer.weight.register_hook(lambda gradient: None)
        return 1000.0 * self.layer(batch).float().sum()

    def on_before_optimizer_step(self, optimizer):
        self.before = self.layer.weight.grad.norm().item()

    def on_before_zero_grad(self, optimizer):
        if self.layer.weight.grad is not None:
            self.norm = self.layer.weight.grad.norm().item()

    def configure_optimizers(self):
        return AdamW(self.parameters(), lr=0.1)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_may_be_clipped(tmp_path, precision):
    module = Line()
    loader = torch.utils.data.DataLoader(torch.ones(2, 1), batch_size=1)
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        precision=precision,
        gradient_clip_val=1.0,
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    assert module.before > 100
    assert module.norm == pytest.approx(1.0, rel=1e-3)
