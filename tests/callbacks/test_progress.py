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


def test_the_loss_is_shown_as_often_as_the_bar_is_drawn(tmp_path):
    shown, losses = Shown(), Losses()
    make_trainer(tmp_path, 6, [shown, losses], enable_progress_bar=True).fit(make_module(make_data()), make_data())
    steps = {step: metrics["train/loss/total"] for step, metrics in shown.seen if "train/loss/total" in metrics}
    assert set(steps) == {3, 6}
    assert steps[3] == losses.values[2]
