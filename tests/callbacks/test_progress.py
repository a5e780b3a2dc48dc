import io
import re
import sys

import pytest

from tests.training_helpers import Losses, make_data, make_module, make_trainer
from tracer_lightning.callbacks import Progress


class Shown(Progress):
    """Keeps what it shows."""

    def __init__(self):
        super().__init__(refresh_rate=3)
        self.seen = []

    def get_metrics(self, trainer, pl_module):
        self.seen.append((trainer.global_step, super().get_metrics(trainer, pl_module)))
        return self.seen[-1][1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_loss_is_read_whenever_the_bar_is_updated(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    shown, losses = Shown(), Losses()
    make_trainer(tmp_path, 6, [shown, losses], enable_progress_bar=True).fit(make_module(make_data()), make_data())
    steps = {step: metrics["train/loss/total"] for step, metrics in shown.seen if "train/loss/total" in metrics}
    assert set(steps) == {3, 6}
    assert steps[3] == losses.values[2]


@pytest.mark.parametrize(
    ("seconds", "lines"), [pytest.param(60.0, ["6"], marks=pytest.mark.slow), (0.0, list("123456"))]
)
def test_progress_is_printed_as_lines_without_a_terminal(tmp_path, capsys, seconds, lines):
    losses, data = Losses(), make_data()
    shown = Progress(refresh_rate=1, seconds=seconds)
    trainer = make_trainer(tmp_path, 6, [shown, losses], enable_progress_bar=True, limit_train_batches=6)
    trainer.fit(make_module(data), data)
    trainer.test(trainer.lightning_module, data, verbose=False)
    out, err = capsys.readouterr()
    lines_of_epoch = re.findall(r"^epoch 1.*, batch (\d) of 6, loss ([\d.]+)$", out, re.MULTILINE)
    assert [batch for batch, _ in lines_of_epoch] == lines
    assert float(lines_of_epoch[-1][1]) == pytest.approx(losses.values[-1], rel=1e-3)
    assert "\r" not in out + err


def test_refresh_rate_0_disables_all_output(tmp_path, capsys):
    make_trainer(tmp_path, 2, [Progress(refresh_rate=0)], enable_progress_bar=True).fit(
        make_module(make_data()), make_data()
    )
    assert capsys.readouterr().out == ""
