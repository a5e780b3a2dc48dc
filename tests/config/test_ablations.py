"""Every ablation runs what its table lists."""

import csv
import json
from importlib.resources import files

import pytest
from omegaconf import OmegaConf

from tests.commands.helpers import TINY, composed, hydra_context
from tests.commands.test_cli import train
from tests.config.test_configs import build
from tests.engine.sweep_jobs import folder_of, jobs, master
from tracer_lightning.config.validate import validate

TABLES = {"terms": 8, "strength": 9, "update_every": 10, "kernel_shape": 11}
KEYS = {"strength": "method.strength", "update_every": "teacher.every_n_steps", "kernel_shape": "kernel.beta"}
ABLATIONS = (*TABLES, "teacher")
PAPER = ("experiment=vitb16_wma", "data.root=/shards")
EXPERIMENTS = [pytest.param((), id="digits"), pytest.param(PAPER, id="paper", marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def hydra():
    with hydra_context():
        yield


def published(ablation):
    """The settings of its table."""
    table = files("tracer_lightning.reporting").joinpath("published_tables", "tracer_paper_tables.csv").read_text()
    rows = csv.DictReader(table.splitlines())
    return {row["setting"].partition("=")[2] for row in rows if row["table"] == str(TABLES[ablation])}


def swept(key, sweep):
    """The values of one key in the jobs' overrides."""
    return [value for job in sweep for name, _, value in [override.partition("=") for override in job] if name == key]


@pytest.mark.parametrize(
    "ablation", ["kernel_shape", *(pytest.param(name, marks=pytest.mark.slow) for name in ("strength", "update_every"))]
)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_values_are_those_of_the_table(tmp_path, ablation, experiment):
    sweep = jobs(*experiment, f"ablation={ablation}")
    values = [float(value) for value in swept(KEYS[ablation], sweep)]
    assert len(values) == len(sweep)
    assert values == sorted(set(values))
    assert set(values) == set(map(float, published(ablation)))
    assert OmegaConf.select(composed(tmp_path, *sweep[-1], tiny=False), KEYS[ablation]) == values[-1]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_terms_are_all_subsets_in_the_order_of_the_method(tmp_path, experiment):
    sweep = jobs(*experiment, "ablation=terms")
    subsets = [value.strip("[]").split(",") if value != "[]" else [] for value in swept("distill_losses", sweep)]
    assert len(subsets) == len(sweep) == 16
    assert {frozenset(subset) for subset in subsets} == {
        frozenset() if setting == "none" else frozenset(setting.split("+")) for setting in published("terms")
    }
    whole = composed(tmp_path, *experiment, tiny=False)
    assert all(subset == sorted(subset, key=list(whole.distill_losses).index) for subset in subsets)
    assert not composed(tmp_path, *sweep[0], tiny=False).distill_losses
    assert composed(tmp_path, *sweep[-1], tiny=False) == whole


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_only_the_teacher_differs(tmp_path, experiment):
    configs = [composed(tmp_path, *job, tiny=False) for job in jobs(*experiment, "ablation=teacher")]
    plain = composed(tmp_path, *experiment, tiny=False)
    assert [cfg.teacher.module._target_.rpartition(".")[2] for cfg in configs] == [
        *("WMATeacher", "EMATeacher", "EMATeacher", "FrozenTeacher", "NoTeacher")
    ]
    assert [cfg.teacher.every_n_steps for cfg in configs] == [1, 1, 500, 1, 1]
    assert [configs[number].teacher.module.initial_momentum for number in (1, 2)] == [None, 0.05]
    for cfg in configs:
        cfg.teacher = plain.teacher
    assert configs[:4] == [plain] * 4
    assert not configs[4].distill_losses
    configs[4].distill_losses = plain.distill_losses
    assert configs[4] == plain


@pytest.mark.slow
@pytest.mark.parametrize(
    "experiment", [(), ("experiment=pacs_tracer", "data.root=/shards"), PAPER], ids=["digits", "pacs", "paper"]
)
def test_frontiers_are_of_rates_by_methods(tmp_path, experiment):
    sweep = jobs(*experiment, "ablation=frontier")
    methods, rates = list(dict.fromkeys(swept("method", sweep))), list(dict.fromkeys(swept("optimizer.lr", sweep)))
    assert len(sweep) == len(methods) * len(rates) == 28
    assert list(map(float, rates)) == [1e-4, 3e-4, 1e-3, 3e-3]
    for method, job in zip(methods, sweep[:: len(rates)], strict=True):
        cfg = composed(tmp_path, *job, tiny=False)
        validate(cfg, "train")
        assert (cfg.method.name, cfg.optimizer.lr) == (method, 1e-4)
    chosen = jobs(
        *experiment, "ablation=frontier", "method=tracer,sd_wma", "method.strength=0.1,1", "optimizer.lr=1e-5"
    )
    assert [composed(tmp_path, *job, tiny=False).method.strength for job in chosen] == [0.1, 1, 0.1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_jobs_of_the_small_demo_build(tmp_path, ablation):
    sweep = jobs(f"ablation={ablation}", "debug=small")
    for job in [*sweep[:5], sweep[-1]]:  # all teachers, no terms, each and all, extreme numbers
        cfg = composed(tmp_path, *job, tiny=False)
        assert (cfg.trainer.max_epochs, cfg.scheduler.warmup_steps) == (5, 4)
        module, _ = build(cfg)
        assert set(module.loss.terms) == {"info_nce", *cfg.distill_losses}
        assert set(module.regularizers.terms) == {"cross_frobenius"}


@pytest.mark.slow
def test_every_method_of_a_frontier_builds_on_the_small_demo(tmp_path):
    for job in jobs("ablation=frontier", "debug=small")[::4]:
        module, _ = build(composed(tmp_path, *job, tiny=False))
        assert module.trained()


@pytest.mark.parametrize(
    "ablation", ["teacher", "frontier", *(pytest.param(name, marks=pytest.mark.slow) for name in TABLES)]
)
def test_it_is_a_sweep_without_saying_so(ablation):
    assert master(f"ablation={ablation}").hydra.mode.name == "MULTIRUN"


@pytest.mark.slow
def test_a_user_adds_seeds_and_chooses_values(tmp_path):
    chosen = jobs("ablation=strength", "method.strength=0.1,0.5", "seed=0,1")
    configs = [composed(tmp_path, *job) for job in chosen]
    assert [(cfg.method.strength, cfg.seed) for cfg in configs] == [(0.1, 0), (0.1, 1), (0.5, 0), (0.5, 1)]
    assert len(jobs("ablation=terms", "distill_losses=[fd],[fd,icl]")) == 2
    assert len(jobs("ablation=teacher", "ablation/teacher=wma,none", "seed=0,1,2")) == 6


@pytest.mark.parametrize(
    ("overrides", "number", "folder"),
    [
        (["ablation=terms"], -1, "15-tracer-terms-fd+crd+icl+cross_kd-seed0"),
        pytest.param(["ablation=terms"], 0, "0-tracer-terms-none-seed0", marks=pytest.mark.slow),
        pytest.param(["ablation=strength"], 0, "0-tracer-strength-0.1-seed0", marks=pytest.mark.slow),
        pytest.param(["ablation=update_every"], -1, "8-tracer-every-2500-seed0", marks=pytest.mark.slow),
        pytest.param(["ablation=kernel_shape", "seed=1"], -1, "5-tracer-beta-1.5-seed1", marks=pytest.mark.slow),
        pytest.param(["ablation=frontier"], -1, "27-tracer-lr-0.003-strength-0.9-seed0", marks=pytest.mark.slow),
        pytest.param(["ablation=teacher"], 2, "2-tracer-teacher-ema_carot-seed0", marks=pytest.mark.slow),
    ],
)
def test_folders_say_what_was_swept(overrides, number, folder):
    assert folder_of(number, *overrides) == folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "trainer",
    [
        (),
        pytest.param(
            ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"),
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_an_ablation_runs_on_any_number_of_processes(tmp_path, trainer):
    result = train("ablation=terms", "distill_losses=[],[fd,icl]", "run=x", *TINY, *trainer, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    runs = tmp_path / "outputs/digits/x"
    assert sorted(path.parent.name for path in runs.glob("*/results.json")) == [
        "0-tracer-terms-none-seed0",
        "1-tracer-terms-fd+icl-seed0",
    ]
    assert [path.name for path in (tmp_path / "outputs/digits").iterdir()] == ["x"]
    for folder in ("0-tracer-terms-none-seed0", "1-tracer-terms-fd+icl-seed0"):
        results = json.loads((runs / folder / "results.json").read_text())
        assert set(results["validation"]) == {"spurious"}
