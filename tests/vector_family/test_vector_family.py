"""A new family of models works from training to merging, without one edit in the package."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.commands.helpers import collect, composed, hydra_context, script
from tests.comparing import differences, without_times
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


@pytest.fixture(scope="module")
def tuned(finished, tmp_path_factory):
    """The folder of a run that starts from the finished one."""
    folder = tmp_path_factory.mktemp("tuned")
    with hydra_context():
        run(vectors(folder, f"init_weights={finished}", "seed=1"))
    return folder / "run"


def command(name, *arguments):
    """Status, stdout and stderr of a script with the family's YAML files, run in this process."""
    return script(name, *map(str, arguments), "--config-dir", str(CONF))


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
    expected = {"train/loss/vector_error", "train/loss/prediction", "train/mean_prediction", "val/near/rmse"}
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
    unbroken, continued = (without_times(results_of(folder)) for folder in (finished, tmp_path / "run"))
    assert not differences(unbroken, continued)


def test_the_report_shows_its_metric(finished):
    page = (finished / "report.html").read_text()
    assert "RMSE" in page
    assert "ECE" not in page


def test_runs_are_collected(finished, tmp_path, capsys):
    assert collect([str(finished), "--out", str(tmp_path)]) == 0
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


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("predict", ["images=."], "predict is for models of images and captions, and the backbone is a Regressor"),
        ("embed", ["images=."], "embed is for models of images and captions, and the backbone is a Regressor"),
        ("export", ["format=open_clip"], "format=open_clip is for models of images and captions"),
        ("export", ["format=onnx"], "format=onnx is for models of images and captions"),
        ("export", ["format=transformers"], "format must be null: a Regressor is exported in its own format only"),
    ],
)
def test_what_is_for_images_and_captions_is_refused(finished, tmp_path, name, arguments, message):
    out = tmp_path / ("features.npy" if name == "embed" else "out")
    status, _, stderr = command(name, "backbone=vectors", f"checkpoint={finished}", f"out={out}", *arguments)
    assert status == 1
    assert f"error: {message}" in stderr
    assert not out.exists()


def test_a_finished_run_has_the_scores_that_it_ended_with(tuned, tmp_path):
    status, stdout, stderr = command("evaluate", f"checkpoint={tuned}", f"hydra.run.dir={tmp_path}")
    assert status == 0, stderr
    evaluation, results = json.loads((tmp_path / "evaluation.json").read_text()), results_of(tuned)
    for model in ("student", "teacher"):
        assert evaluation[model] == results[model]
    assert evaluation["headline"] == "rmse"
    assert "RMSE" in stdout
    assert "ECE" not in stdout
    assert not list(tmp_path.glob("*.csv"))  # there are no classes


@pytest.mark.slow
def test_settings_of_a_finished_run_are_overridden(tuned, tmp_path):
    overrides = ["data.eval_batch_size=7", "models=[teacher]", f"hydra.run.dir={tmp_path}"]
    status, _, stderr = command("evaluate", f"checkpoint={tuned}", *overrides)
    assert status == 0, stderr
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["teacher"]["far"]["rmse"] == pytest.approx(results_of(tuned)["teacher"]["far"]["rmse"])
    assert "student" not in evaluation


@pytest.mark.slow
def test_weights_alone_are_evaluated_with_the_options_of_the_family(tuned, tmp_path):
    state = torch.load(tuned / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    weights = {name.removeprefix("student."): value for name, value in state.items() if name.startswith("student.")}
    torch.save(weights, tmp_path / "weights.pt")
    options = ["backbone=vectors", "data=vectors", "evaluation=vectors", "primary_metric=rmse"]
    status, _, stderr = command(
        "evaluate", f"checkpoint={tmp_path / 'weights.pt'}", *options, f"hydra.run.dir={tmp_path}"
    )
    assert status == 0, stderr
    assert json.loads((tmp_path / "evaluation.json").read_text())["model"] == results_of(tuned)["student"]


@pytest.mark.slow
def test_weights_are_interpolated(finished, tuned, tmp_path):
    out = tmp_path / "merged"
    status, stdout, stderr = command(
        "merge", f"checkpoint={tuned}", "alpha=0,0.5,1", f"hydra.run.dir={tmp_path / 'curve'}"
    )
    assert status == 0, stderr
    merged, results = json.loads((tmp_path / "curve/merge.json").read_text()), results_of(tuned)
    assert merged["start"] == str(finished)
    assert merged["scores"]["0"] == results["before"]
    assert merged["scores"]["1"] == results["student"]
    assert "OOD RMSE" in stdout
    header, *rows = (tmp_path / "curve/merge.csv").read_text().splitlines()
    assert header == "alpha,data_set,split,role,n,rmse"
    assert len(rows) == 9
    assert (tmp_path / "curve/id_ood.png").is_file()
    status, _, stderr = command(
        "merge", f"checkpoint={tuned}", "alpha=0.5", f"out={out}", f"hydra.run.dir={tmp_path / 'half'}"
    )
    assert status == 0, stderr
    states = [
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for folder in (finished, tuned)
    ]
    for name, value in load_file(out / "model.safetensors").items():
        start, end = (state[f"student.{name}"] for state in states)
        assert torch.allclose(value, (start + end) / 2)


OF_IMAGES = "is for models of images and captions, and the backbone is a Regressor"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("diagnose", ["checkpoint={run}"], f"error: diagnose {OF_IMAGES}"),
        ("changed", ["checkpoint={run}"], f"error: changed {OF_IMAGES}"),
        ("similarity", ["first={run}"], f"error: similarity {OF_IMAGES}"),
        ("merge", ["fisher", "checkpoint={run}"], f"error: merge=fisher {OF_IMAGES}"),
        ("evaluate", ["checkpoint={run}", "temperature=val"], "error: temperature must be null, because "),
        ("evaluate", ["checkpoint={run}", "averages={a:[near]}"], "error: averages must be null, because "),
        ("evaluate", ["checkpoint={run}", "primary_metric=ece"], "error: primary_metric must be one of rmse, found"),
        ("merge", ["checkpoint={start}"], "started from its backbone's own weights; give the weights before"),
    ],
)
def test_what_a_family_lacks_is_refused_in_one_line(finished, tuned, tmp_path, name, arguments, message):
    texts = [argument.replace("{run}", str(tuned)).replace("{start}", str(finished)) for argument in arguments]
    status, _, stderr = command(name, *texts, f"hydra.run.dir={tmp_path}")
    assert status == 1
    assert message in stderr
    assert stderr.count("\n") == 1


def tampered(run_folder, folder, **groups):
    """A checkpoint of a run with other settings."""
    content = torch.load(run_folder / "checkpoints/last.ckpt", weights_only=True)
    content["hyper_parameters"] |= groups
    torch.save(content, folder / "tampered.ckpt")
    return folder / "tampered.ckpt"


DATA = {
    "_target_": "tests.vector_family.family.VectorDataModule",
    "samples": 200,
    "batch_size": 32,
    "eval_batch_size": 64,
    "num_workers": 0,
}
SUITE = {"_target_": "tests.vector_family.family.RegressionSuite", "_partial_": True}
ATTACKS = [
    ("backbone", {"_target_": "os.mkdir", "path": "executed"}, "backbone._target_='os.mkdir' is not in this package"),
    ("data", {"_target_": "os.mkdir", "path": "executed"}, "data._target_='os.mkdir' is not in this package"),
    (
        "evaluation",
        {"test_suite": {"_target_": "os.mkdir", "_partial_": True, "path": "executed"}},
        "evaluation.test_suite._target_='os.mkdir' is not in this package, and no option of evaluation",
    ),
    ("data", {"_target_": "tracer_lightning.data.DataModule"}, "DataModule' is not in this package, and no option"),
    ("backbone", DATA, "VectorDataModule' is not in this package, and no option of backbone"),
    ("data", DATA | {"samples": {"_target_": "os.mkdir", "path": "executed"}}, "data.samples={"),
    ("data", DATA | {"path": "executed"}, "data.path is no setting of the option"),
    ("data", DATA | {"samples": "${oc.env:HOME}"}, "data.samples: it must be plain text"),
    ("evaluation", {"test_suite": SUITE | {"_partial_": False}}, "evaluation.test_suite._partial_=False is not that"),
]


@pytest.mark.parametrize(
    ("group", "settings", "message"),
    [ATTACKS[0], *(pytest.param(*attack, marks=pytest.mark.slow) for attack in ATTACKS[1:])],
)
def test_a_checkpoint_names_nothing_that_the_users_yaml_does_not(
    finished, tmp_path, monkeypatch, group, settings, message
):
    checkpoint = tampered(finished, tmp_path, **{group: settings})
    monkeypatch.chdir(tmp_path)
    status, _, stderr = command("evaluate", f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path / 'out'}")
    assert status == 1
    assert f"error: checkpoint={checkpoint}: " in stderr
    assert message in stderr
    assert stderr.endswith(f"; set {group}= yourself\n")
    assert stderr.count("\n") == 1
    assert not (tmp_path / "executed").exists()


@pytest.mark.slow
def test_without_the_users_yaml_a_checkpoint_is_refused(finished, tmp_path):
    status, _, stderr = script("evaluate", f"checkpoint={finished}", f"hydra.run.dir={tmp_path}")
    assert status == 1
    assert "build_regressor' is not in this package" in stderr
    assert "--config-dir); set backbone= yourself" in stderr


def test_losses_of_another_family_are_refused(tmp_path):
    with (
        hydra_context(),
        pytest.raises(ValueError, match=r"fd .* reads ClipFeatures, and the model gives VectorFeatures"),
    ):
        run(vectors(tmp_path, "distill_losses=[fd]"))
