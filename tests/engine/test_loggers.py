"""Loggers beside metrics.csv."""

import pytest
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tracer_lightning.commands.train import run
from tracer_lightning.config.build import build_trainer
from tracer_lightning.reporting.training_curves import read_curves


@pytest.mark.slow
def test_mlflow_gets_the_values_of_the_csv_file(tmp_path):
    pytest.importorskip("sqlalchemy")
    client = pytest.importorskip("mlflow.tracking").MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    with hydra_context():
        run(composed(tmp_path, "logger=mlflow", "seed=3"))
    experiment = client.get_experiment_by_name("digits")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.run_name == "tracer-seed3"
    assert logged.info.status == "FINISHED"
    assert logged.data.params["optimizer/lr"] == "0.001"
    curves = read_curves(tmp_path / "run/metrics.csv")
    assert {"train/loss/total", "val/spurious/accuracy", "test/avg_ood/ece"} <= curves.keys()
    for name, curve in curves.items():
        history = client.get_metric_history(logged.info.run_id, name)
        assert [metric.step for metric in history] == curve.steps
        assert [metric.value for metric in history] == pytest.approx(curve.values)


def test_a_library_that_is_missing_is_named():
    node = {"_target_": "lightning.pytorch.loggers.CometLogger"}
    with pytest.raises(ValueError, match=r"logger\.comet: Requirement 'comet-ml.* not met"):
        build_trainer(OmegaConf.create({"callbacks": {}, "logger": {"comet": node}}))
