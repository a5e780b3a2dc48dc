"""Processes that hold shards of student, teacher and optimizer do what one process does that has all."""

import json

import pytest

from tests.test_distributed import DOUBLE, SHORT, assert_same_run, succeeded
from tests.training.helpers import composed, hydra_context
from tests.training.test_cli import train
from tracer_lightning.analysis.training_curves import read_curves
from tracer_lightning.training.run import run

PLUGIN = "+trainer.plugins=[{_target_: lightning.pytorch.plugins.precision.DoublePrecision}]"
"""In double precision, which Lightning offers no setting for here."""
FSDP = ("trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=null", PLUGIN)
TWO, FOUR = "trainer.devices=2", "trainer.devices=4"
COPIES = ("trainer.strategy.data_parallel_size=2", "trainer.strategy.tensor_parallel_size=2")
KEEP = ("callbacks.checkpoint.save_top_k=-1", "callbacks.checkpoint.filename='{epoch}'")


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A run of one process."""
    path = tmp_path_factory.mktemp("single")
    with hydra_context():
        run(composed(path, *SHORT, DOUBLE, tiny=False))
    return path / "run"


@pytest.fixture(scope="module")
def first_epoch(tmp_path_factory, single):
    """The checkpoint after the first epoch of a run in shards, whose results and curves are those of one process."""
    path = tmp_path_factory.mktemp("sharded")
    succeeded(train(*SHORT, *FSDP, TWO, *KEEP, cwd=path))
    folder = path / "outputs/digits/test"
    results, expected = (json.loads((place / "results.json").read_text()) for place in (folder, single))
    for model in ("zero_shot", "student", "teacher"):
        assert results[model] == expected[model]
    curves, others = (read_curves(place / "metrics.csv") for place in (folder, single))
    assert set(curves) == set(others)
    assert {"train/loss/total", "teacher/distance_to_student"} <= set(curves)
    for name, curve in curves.items():
        assert curve.steps == others[name].steps
        assert curve.values == pytest.approx(others[name].values, rel=1e-8), name
    return folder / "checkpoints/epoch=0.ckpt"


@pytest.mark.slow
def test_a_continued_run_ends_like_one_process(tmp_path, single, first_epoch):
    succeeded(train(*SHORT, *FSDP, TWO, f"resume='{first_epoch}'".replace("=0", "\\=0"), cwd=tmp_path))
    assert_same_run(single, tmp_path / "outputs/digits/test")


@pytest.mark.slow
def test_one_process_continues_it(tmp_path, single, first_epoch):
    with hydra_context():
        cfg = composed(tmp_path, *SHORT, DOUBLE, tiny=False)
        cfg.resume = str(first_epoch)
        run(cfg)
    assert_same_run(single, tmp_path / "run")


@pytest.mark.slow
def test_copies_of_shards(tmp_path, single):
    """As on several machines: shards within, copies among them."""
    succeeded(train(*SHORT, *FSDP, FOUR, *COPIES, cwd=tmp_path))
    assert_same_run(single, tmp_path / "outputs/digits/test")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [["method=ft", "head=probe"], ["method=car_ft"], ["peft=lora"], ["peft=clip_adapter"]],
    ids=lambda settings: settings[-1],
)
def test_heads_anchors_and_added_weights(tmp_path, settings):
    with hydra_context():
        run(composed(tmp_path, *SHORT, DOUBLE, *settings, tiny=False))
    succeeded(train(*SHORT, *FSDP, TWO, *settings, cwd=tmp_path))
    loose = {"rtol": 1e-5, "atol": 1e-6} if "head=probe" in settings else {}
    assert_same_run(tmp_path / "run", tmp_path / "outputs/digits/test", **loose)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("method=l2_sp", "error: trainer=fsdp: a regularizer among l2_sp is of all weights"),
        ("callbacks.report.pictures=1", "error: callbacks.report.pictures: there are none of models in shards"),
    ],
)
def test_what_shards_do_not_do_is_refused(tmp_path, setting, message):
    result = train(*SHORT, *FSDP, TWO, setting, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
