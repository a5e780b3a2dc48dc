"""Sweeps that run elsewhere than one after the other in this process, and sweeps that search."""

import json
import pickle
import re

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.utils import instantiate

from tests.commands.helpers import TINY, composed, hydra_context
from tests.commands.test_cli import train
from tests.engine.sweep_jobs import master
from tracer_lightning.commands.cli import JobFailed, cli

PLUGINS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "slurm": "hydra_plugins.hydra_submitit_launcher",
}


@pytest.fixture
def hydra():
    with hydra_context():
        yield


@pytest.mark.parametrize(
    "launcher", [pytest.param(name, marks=[pytest.mark.slow] * (name != "slurm")) for name in PLUGINS]
)
def test_launchers_compose_with_ablations(hydra, launcher):
    pytest.importorskip(PLUGINS[launcher])
    cfg = master(f"hydra/launcher={launcher}", "ablation=kernel_shape")
    assert isinstance(instantiate(cfg.hydra.launcher), Launcher)
    assert cfg.hydra.sweeper.params == {"kernel.beta": "0.2,0.5,0.7,0.9,1,1.5"}


def test_a_slurm_job_has_a_process_for_each_gpu(hydra):
    pytest.importorskip(PLUGINS["slurm"])
    launcher = master(
        "hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=60"
    ).hydra.launcher
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == (1, 1, 1)
    assert (launcher.partition, launcher.timeout_min, launcher.name) == ("gpu", 60, "digits")
    launcher = master("hydra/launcher=slurm", "trainer=ddp", "trainer.devices=4", "trainer.num_nodes=2").hydra.launcher
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == (2, 4, 4)


@pytest.mark.slow
def test_the_search_composes(hydra, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    cfg = master("search=optuna", "debug=small", "hydra.sweeper.n_trials=4")
    Plugins.instance()  # registers what a sweeper needs
    assert isinstance(instantiate(cfg.hydra.sweeper), Sweeper)
    assert (cfg.optimized_metric, cfg.hydra.sweeper.direction, cfg.hydra.sweeper.n_trials) == (
        "accuracy",
        "maximize",
        4,
    )
    for key in cfg.hydra.sweeper.params:
        composed(tmp_path, f"{key}=0.1")


@pytest.mark.slow
def test_a_missing_plugin_says_how_to_install_it(tmp_path):
    result = train("-m", "hydra/launcher=slum", "seed=0,1", cwd=tmp_path)
    assert result.returncode == 1
    assert re.fullmatch(
        r"error: hydra/launcher=slum: there is no such hydra/launcher; choose one of basic.*slurm.*"
        r"come with pip install -e '\.\[sweep\]'\n",
        result.stderr,
    )


@pytest.mark.slow
def test_no_cluster_is_one_line(tmp_path):
    pytest.importorskip(PLUGINS["slurm"])
    result = train("-m", "hydra/launcher=slurm", "seed=0,1", cwd=tmp_path, PATH="")
    assert result.returncode == 1
    assert re.fullmatch(r"error: hydra/launcher: .*srun.*\n", result.stderr)


@pytest.mark.slow
def test_no_sbatch_is_one_line(tmp_path):
    pytest.importorskip(PLUGINS["slurm"])
    (tmp_path / "srun").touch(mode=0o755)
    result = train("-m", "hydra/launcher=slurm", "seed=0,1", cwd=tmp_path, PATH=str(tmp_path))
    assert result.returncode == 1
    assert re.fullmatch(r"error: hydra/launcher: .*sbatch.*\n", result.stderr)


@pytest.mark.parametrize("seen", [True, False])
def test_a_mistake_elsewhere_is_said_once(capsys, monkeypatch, seen):
    monkeypatch.setattr("sys.argv", ["train.py", "-m", "kernel.beta=-1,0.5", "run=x"])

    def sweep():
        raise pickle.loads(pickle.dumps(JobFailed("kernel: beta must be > 0", 2, ["kernel.beta=-1", "run=x"], seen)))

    with pytest.raises(SystemExit) as stop:
        cli(sweep)
    assert stop.value.code == 1
    assert capsys.readouterr().err == ("" if seen else "error: job 2 (kernel.beta=-1): kernel: beta must be > 0\n")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", pytest.param("submitit_local", marks=pytest.mark.exhaustive)])
def test_jobs_run_in_other_processes(tmp_path, launcher):
    pytest.importorskip(PLUGINS[launcher])
    result = train("-m", f"hydra/launcher={launcher}", "kernel.beta=-1,0.5", "run=x", *TINY, cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["error: job 0 (kernel.beta=-1): kernel: beta must be a finite number > 0, found -1"]
    results = json.loads((tmp_path / "outputs/digits/x/1-tracer-seed0/results.json").read_text())
    assert results["method"] == "tracer"


@pytest.mark.slow
def test_a_search_goes_by_validation(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    result = train("search=optuna", "hydra.sweeper.n_trials=2", "run=x", *TINY, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    sweep = tmp_path / "outputs/digits/x"
    accuracies = [
        json.loads(path.read_text())["validation"]["spurious"]["accuracy"] for path in sweep.glob("*/results.json")
    ]
    assert len(accuracies) == 2
    best = (sweep / "optimization_results.yaml").read_text()
    assert float(re.search(r"best_value: (\S+)", best)[1]) == pytest.approx(max(accuracies))
