"""Statistics of teacher and student, in real runs."""

import inspect

import lightning.pytorch as pl
import pytest
import torch

from tests.training_helpers import make_data, make_module, make_trainer
from tracer_lightning.analysis.training_curves import read_curves
from tracer_lightning.callbacks import TeacherStatistics, teacher_statistics
from tracer_lightning.functional.statistics import matching_log_probabilities, mean_divergence, mean_entropy
from tracer_lightning.teachers import NoTeacher
from tracer_lightning.training.csv_logger import ContinuedCSVLogger
from tracer_lightning.types import ClipFeatures

NAMES = {"student/entropy", "student/confidence", "teacher/entropy", "teacher/confidence", "teacher/kl"}


class Reference(pl.Callback):
    """KL and entropy of every step, by a second pass over the batch before the weights move."""

    def __init__(self):
        self.kl, self.entropy = [], []

    @torch.no_grad()
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        student, teacher = (
            matching_log_probabilities(model(batch.images, batch.texts))
            for model in (pl_module.student, pl_module.teacher)
        )
        self.kl.append(float(mean_divergence(teacher, student)))
        self.entropy.append(float(mean_entropy(student)))


class Features(pl.Callback):
    """Keeps what the training step handed over last."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.inputs = outputs["features"]


def fit(path, steps=6, every=2, callbacks=(), checkpoint=None, log_every=2, module=None, batch_size=400, **options):
    data = make_data(batch_size)
    logger = ContinuedCSVLogger(path, name="", version="")
    module = module or make_module(data)
    trainer = make_trainer(
        path,
        steps,
        [TeacherStatistics(every), *callbacks],
        logger=logger,
        log_every_n_steps=log_every,
        **options,
    )
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return trainer, read_curves(path / "metrics.csv")


def test_what_is_logged_is_of_the_step_it_is_logged_at(tmp_path):
    reference = Reference()
    _, curves = fit(tmp_path, callbacks=[reference])
    assert {name for name in curves if not name.startswith("train/")} == NAMES
    assert curves["teacher/kl"].steps == curves["train/loss/total"].steps == [1, 3, 5]
    assert curves["teacher/kl"].values == pytest.approx(reference.kl[1::2], rel=1e-4)
    assert curves["student/entropy"].values == pytest.approx(reference.entropy[1::2], rel=1e-5)
    assert 0 < curves["teacher/kl"].values[0] == pytest.approx(curves["train/loss/crd"].values[0] / 2, rel=1e-5)


def test_accumulated_batches_count_as_one_step(tmp_path):
    _, curves = fit(tmp_path, steps=4, accumulate_grad_batches=2)
    assert curves["teacher/kl"].steps == [1, 3]


def test_between_statistics_the_last_one_is_held(tmp_path):
    _, curves = fit(tmp_path, steps=8, every=3, log_every=1, batch_size=100)
    assert curves["teacher/kl"].steps == [2, 3, 4, 5, 6, 7]
    first, *_, last = curves["teacher/kl"].values
    assert curves["teacher/kl"].values == [first] * 3 + [last] * 3


def test_no_teacher_no_statistics_of_it(tmp_path):
    module = make_module(make_data(400), teacher=NoTeacher, terms=("info_nce",))
    _, curves = fit(tmp_path, module=module)
    assert {name for name in curves if not name.startswith("train/")} == {"student/entropy", "student/confidence"}


def test_a_continued_run_logs_what_an_unbroken_one_logs(tmp_path):
    _, whole = fit(tmp_path / "whole", checkpoint_every=3)
    _, rest = fit(tmp_path / "rest", checkpoint=tmp_path / "whole" / "step=3.ckpt")
    assert rest["teacher/kl"].steps == [3, 5]
    assert rest["teacher/kl"].values == whole["teacher/kl"].values[1:]


def test_under_autocast_statistics_are_in_full_precision(tmp_path):
    """Logits rounded to bf16 would be off by up to s / 256."""
    kept = Features()
    _, curves = fit(tmp_path, steps=2, precision="bf16-mixed", callbacks=[kept])
    student, teacher = (
        matching_log_probabilities(ClipFeatures(*(value.double() for value in features)))
        for features in (kept.inputs.student, kept.inputs.teacher)
    )
    assert curves["teacher/kl"].values == pytest.approx([float(mean_divergence(teacher, student))], rel=1e-4)
    assert curves["student/entropy"].values == pytest.approx([float(mean_entropy(student))], rel=1e-6)


def test_what_the_training_step_hands_over(tmp_path):
    kept = Features()
    fit(tmp_path, steps=1, callbacks=[kept])
    for features in (kept.inputs.student, kept.inputs.teacher):
        assert not any(value.requires_grad for value in features)
        assert features.image.shape == features.text.shape == (400, 16)
    assert kept.inputs.labels.shape == (400,)


def test_nothing_waits_for_the_device():
    source = inspect.getsource(teacher_statistics)
    assert not any(call in source for call in (".item(", ".cpu(", ".tolist(", "float("))


def test_bad_intervals_are_refused():
    with pytest.raises(ValueError, match="every_n_steps must be a whole number >= 1, found 0"):
        TeacherStatistics(0)
