"""A new family of models works from training to export, without one edit in the package."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scripts import collect
from tests.commands.helpers import composed, hydra_context, script
from tests.comparing import differences
from tests.engine.test_run import run_until
from tests.vector_family.family import Regressor
from tracer_lightning.commands.train import run

CONF = Path(__file__).parent / "conf"


def vectors(folder, *overrides):
    return composed(folder, f"hydra.searchpath=[file://{CONF}]", "experiment=vectors", *overrides, tiny=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("vectors")
    with hydra_context():
        run(vectors(folder))
    return folder / "run"


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def test_the_model_is_scored_before_and_student_and_teacher_after(finished):
    results = results_of(finished)
    assert results["metrics"]["rmse"] == {
        "title": "RMSE",
        "column": "RMSE",
        "better": "lower",
        "percent": False,
        "shown": True,
        "averaged": True,
    }
    before, student, teacher = (results[model]["near"]["rmse"] for model in ("before", "student", "teacher"))
    assert student < teacher < before  # the teacher remembers the start
    assert results["student"]["avg_ood"]["rmse"] == results["student"]["far"]["rmse"]
    assert results["validation"]["near"]["rmse"] < before
    assert "zero_shot" not in results


def test_metrics_of_each_step_are_logged(finished):
    columns = (finished / "metrics.csv").read_text().splitlines()[0].split(",")
    expected = {"train/loss/squared_error", "train/loss/prediction", "train/mean_prediction", "val/near/rmse"}
    assert expected <= set(columns)


def test_a_killed_run_continues_to_the_last_bit(finished, tmp_path):
    with hydra_context():
        run_until(vectors(tmp_path), epochs=2)
        run(vectors(tmp_path, "resume=auto"))
    parts = ("state_dict", "optimizer_states", "lr_schedulers", "VectorDataModule", "global_step")
    unbroken, continued = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in (finished, tmp_path / "run")
    )
    assert not differences({part: unbroken[part] for part in parts}, {part: continued[part] for part in parts})
    unbroken, continued = results_of(finished), results_of(tmp_path / "run")
    assert not differences(unbroken, {**continued, "seconds": unbroken["seconds"]})


def test_the_report_shows_its_metric(finished):
    page = (finished / "report.html").read_text()
    assert "RMSE" in page
    assert "ECE" not in page


def test_runs_are_collected(finished, tmp_path, capsys):
    assert collect.main([str(finished), "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "RMSE" in table
    rmse = results_of(finished)["student"]["near"]["rmse"]
    assert f"{rmse:.3g}" in table
    assert "rmse" in (tmp_path / "table.csv").read_text()


def test_weights_are_exported(finished, tmp_path):
    out = tmp_path / "exported"
    choices = ["--config-dir", str(CONF), "backbone=vectors", f"checkpoint={finished}", f"out={out}", "model=teacher"]
    status, _, stderr = script("export", *choices)
    assert status == 0, stderr
    model = Regressor(**json.loads((out / "config.json").read_text()))
    model.load_state_dict(load_file(out / "model.safetensors"))
    saved = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved[f"teacher.module.{name}"])


def test_losses_of_another_family_are_refused(tmp_path):
    with (
        hydra_context(),
        pytest.raises(ValueError, match=r"fd .* reads ClipFeatures, and the model gives VectorFeatures"),
    ):
        run(vectors(tmp_path, "distill_losses=[fd]"))
