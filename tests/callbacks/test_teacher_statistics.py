"""Statistics of teacher and student, in real runs."""

import inspect
from functools import partial

import lightning.pytorch as pl
import pytest
import torch

from tests.conftest import tiny_backbone
from tests.training_helpers import Losses, Trajectory, make_data, make_module, make_trainer
from tracer_lightning.callbacks import TeacherStatistics, teacher_statistics
from tracer_lightning.engine.csv_logger import ContinuedCSVLogger
from tracer_lightning.functional.statistics import matching_log_probabilities, mean_divergence, mean_entropy
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.models.peft import add_lora
from tracer_lightning.reporting.training_curves import read_curves
from tracer_lightning.teachers import EMATeacher, FrozenTeacher, NoTeacher, WMATeacher
from tracer_lightning.types import ClipFeatures

OF_STUDENT = {f"student/{name}" for name in ("entropy", "confidence", "true_pair")}
OF_BOTH = {name.replace("student", "teacher") for name in OF_STUDENT} | {
    f"teacher/{name}" for name in ("kl", "kl_reverse", "agreement", "top5_overlap")
}
NAMES = OF_STUDENT | OF_BOTH
WAYS = ("student/distance_to_start", "teacher/distance_to_start", "teacher/distance_to_student")


class Reference(pl.Callback):
    """KL and entropy of every step, by a second pass over the batch before the weights move."""

    def __init__(self):
        self.kl, self.entropy = [], []

    @torch.no_grad()
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        student, teacher = (
            matching_log_probabilities(model(batch, pl_module.reads))
            for model in (pl_module.student, pl_module.teacher)
        )
        self.kl.append(float(mean_divergence(teacher, student)))
        self.entropy.append(float(mean_entropy(student)))


class Features(pl.Callback):
    """Keeps what the training step handed over last."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.inputs = outputs["features"]


def fit(path, steps=6, every=2, callbacks=(), checkpoint=None, log_every=2, module=None, batch_size=400, **options):
    distances = options.pop("distances", False)
    data = make_data(batch_size)
    logger = ContinuedCSVLogger(path, name="", version="")
    module = module or make_module(data)
    trainer = make_trainer(
        path,
        steps,
        [TeacherStatistics(every, distances), *callbacks],
        logger=logger,
        log_every_n_steps=log_every,
        **options,
    )
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return trainer, read_curves(path / "metrics.csv")


def of_models(curves):
    return {name: curve for name, curve in curves.items() if not name.startswith("train/")}


def test_statistics_are_logged_at_their_own_step(tmp_path):
    reference = Reference()
    _, curves = fit(tmp_path, callbacks=[reference])
    assert set(of_models(curves)) == NAMES
    assert curves["teacher/kl"].steps == curves["train/loss/total"].steps == [1, 3, 5]
    assert curves["teacher/kl"].values == pytest.approx(reference.kl[1::2], rel=1e-4)
    assert curves["student/entropy"].values == pytest.approx(reference.entropy[1::2], rel=1e-5)
    assert 0 < curves["teacher/kl"].values[0] == pytest.approx(curves["train/loss/crd"].values[0] / 2, rel=1e-5)


def norm(first, second):
    return sum(float((first[name] - second[name]).square().sum()) for name in first) ** 0.5


def averages(points, teacher, total):
    """The WMA teacher after each step, from its definition."""
    weights = [teacher.kernel((k + 0.5) / (total + 1)) for k in range(total + 1)]
    return [
        {
            name: sum(w * p[name] for w, p in zip(weights, points[: t + 1], strict=False)) / sum(weights[: t + 1])
            for name in points[0]
        }
        for t in range(total + 1)
    ]


@pytest.mark.parametrize("accumulate", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_distances_are_those_of_the_trajectory(tmp_path, accumulate):
    """Every 3 steps, where Lightning logs every 2: each at its own step, and at no other."""
    path, steps = Trajectory(), 8
    module = make_module(make_data(100))
    options = {"every": 3, "module": module, "batch_size": 100, "accumulate_grad_batches": accumulate}
    _, curves = fit(tmp_path, steps, callbacks=[path], distances=True, **options)
    assert set(of_models(curves)) == {*NAMES, *WAYS}
    assert {tuple(curve.steps) for curve in of_models(curves).values()} == {(2, 5)}
    assert curves["train/loss/total"].steps == [1, 3, 5, 7]
    points, teacher = path.points, averages(path.points, module.teacher, steps)
    expected = [(norm(points[k], points[0]), norm(teacher[k], points[0]), norm(points[k], teacher[k])) for k in (2, 5)]
    for place, name in enumerate(WAYS):
        assert curves[name].values == pytest.approx([values[place] for values in expected], rel=1e-4), name


@pytest.mark.parametrize(
    ("teacher", "gap"),
    [(partial(EMATeacher, momentum=0.0), 0.0), (FrozenTeacher, 1.0)],
)
def test_teachers_at_their_limits(tmp_path, teacher, gap):
    """One that is the student, and one that stays theta_0: the gap is none or all of the student's way."""
    module = make_module(make_data(400), teacher=teacher)
    _, curves = fit(tmp_path, module=module, steps=2, every=1, distances=True)
    way, of_teacher, between = (curves[name].values for name in WAYS)
    assert way[0] == 0 < way[1]
    assert between == pytest.approx([gap * value for value in way], abs=1e-9)
    assert of_teacher == pytest.approx([(1 - gap) * value for value in way], abs=1e-9)
    if gap == 0:  # but for the modes of the models, which have no dropout and no batch statistics
        for name in ("teacher/kl", "teacher/kl_reverse"):
            assert curves[name].values == pytest.approx([0, 0], abs=1e-6)
        assert curves["teacher/agreement"].values == curves["teacher/top5_overlap"].values == [1, 1]
        assert curves["teacher/true_pair"].values == pytest.approx(curves["student/true_pair"].values)


def test_without_a_teacher_there_are_no_teacher_statistics(tmp_path):
    module = make_module(make_data(400), teacher=NoTeacher, terms=("info_nce",))
    _, curves = fit(tmp_path, module=module, distances=True)
    assert set(of_models(curves)) == {*OF_STUDENT, WAYS[0]}


class Lora(pl.Callback):
    """What the weights of the image tower's queries and values come to, in float64, before each step."""

    def __init__(self):
        self.weights = []

    @torch.no_grad()
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        models = (pl_module.student.model, pl_module.teacher.module.model)
        self.weights.append([m.visual.transformer.resblocks[0].attn.in_proj_weight.double().clone() for m in models])


@pytest.mark.slow
@pytest.mark.parametrize("space", ["factors", "merged"])
def test_low_rank_updates_are_merged_in_distances(tmp_path, space, monkeypatch):
    backbone = tiny_backbone()
    add_lora(backbone.model, rank=2, scale=1.0, towers=["image"])
    monkeypatch.setattr("tests.training_helpers.tiny_backbone", lambda: backbone)
    kept = Lora()
    module = make_module(
        make_data(400), teacher=partial(WMATeacher, kernel=BetaKernel(0.5), lora_space=space), warmup=0
    )
    _, curves = fit(tmp_path, steps=4, every=1, module=module, callbacks=[kept], distances=True)
    start = kept.weights[0][0]
    for step, (student, teacher) in enumerate(kept.weights):
        expected = (student - start).norm(), (teacher - start).norm(), (teacher - student).norm()
        assert [curves[name].values[step] for name in WAYS] == pytest.approx([float(x) for x in expected], rel=1e-4)
    assert 0 < curves[WAYS[2]].values[-1] < curves[WAYS[0]].values[-1]


@pytest.mark.slow
def test_a_resumed_run_logs_the_same_statistics(tmp_path):
    """To the last bit; the distances, too, which are to the same theta_0."""
    _, whole = fit(tmp_path / "whole", checkpoint_every=3, distances=True)
    _, rest = fit(tmp_path / "rest", checkpoint=tmp_path / "whole" / "step=3.ckpt", distances=True)
    assert set(of_models(rest)) == {*NAMES, *WAYS}
    for name, curve in of_models(rest).items():
        assert curve.steps == [3, 5]
        assert curve.values == whole[name].values[1:], name
    assert 0 < rest[WAYS[0]].values[0] < rest[WAYS[0]].values[1]


@pytest.mark.slow
def test_statistics_do_not_change_training(tmp_path):
    """Losses and weights of a run with all of them are those of one without any, to the last bit."""
    runs = []
    for every in (1, 10**6):
        losses, module = Losses(), make_module(make_data(400))
        fit(tmp_path / str(every), 4, every, [losses], module=module, distances=every == 1)
        runs.append((losses.values, module.state_dict()))
    (values, state), (others, state_without) = runs
    assert values == others
    assert all(
        torch.equal(value, state_without[name]) for name, value in state.items() if isinstance(value, torch.Tensor)
    )


@pytest.mark.slow
def test_under_autocast_statistics_are_in_full_precision(tmp_path):
    """Logits rounded to bf16 would be off by up to s / 256."""
    kept, path = Features(), Trajectory()
    options = {"precision": "bf16-mixed", "callbacks": [kept, path]}
    _, curves = fit(tmp_path, steps=2, distances=True, **options)
    student, teacher = (
        matching_log_probabilities(ClipFeatures(*(value.double() for value in features[:3])))
        for features in (kept.inputs.student, kept.inputs.teacher)
    )
    assert curves["teacher/kl"].values == pytest.approx([float(mean_divergence(teacher, student))], rel=1e-4)
    assert curves["student/entropy"].values == pytest.approx([float(mean_entropy(student))], rel=1e-6)
    assert curves[WAYS[0]].values == pytest.approx([norm(path.points[1], path.points[0])], rel=1e-5)


def test_the_training_step_returns_features(tmp_path):
    kept = Features()
    fit(tmp_path, steps=1, callbacks=[kept])
    for features in (kept.inputs.student, kept.inputs.teacher):
        assert not any(value.requires_grad for value in features if value is not None)
        assert features.image.shape == features.text.shape == (400, 16)
    assert kept.inputs.student.labels.shape == (400,)


def test_logging_synchronises_once():
    source = inspect.getsource(teacher_statistics)
    assert not any(call in source for call in (".item(", ".cpu(", "float("))
    assert source.count(".tolist(") == 1


def test_an_interval_beyond_the_run_causes_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="every_n_steps=50 of TeacherStatistics in a run of 6 steps: there will be no"):
        fit(tmp_path, every=50, distances=True)


def test_bad_intervals_raise_errors():
    with pytest.raises(ValueError, match="every_n_steps must be >= 1, got 0"):
        TeacherStatistics(0)
