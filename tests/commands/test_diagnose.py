"""Diagnosing the model that a real run starts from, as a user would."""

import csv
import json
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.commands.helpers import TINY, composed, hydra_context
from tests.commands.test_evaluate import ROOT, script
from tests.reporting.run_folders import scores, write_run
from tests.test_distributed import succeeded
from tracer_lightning.commands.train import run
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import build_data
from tracer_lightning.data.digits.styles import STYLES
from tracer_lightning.evaluation.difficulty import difficulty, labelled
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.reporting.forgetting import NUMBERS

SIZES = [text for text in TINY if text.startswith("backbone.")]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Weights that runs start from."""
    file = tmp_path_factory.mktemp("start") / "start.safetensors"
    with hydra_context():
        torch.manual_seed(3)
        save_file(build_backbone(composed(file.parent), None).model.model.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def runs(start, tmp_path_factory):
    """Folder of two groups of runs."""
    folder = tmp_path_factory.mktemp("runs")
    with hydra_context():
        for method in ("flyp", "tracer"):
            (folder / method).mkdir()
            run(composed(folder / method, f"method={method}", f"init_weights={start}", "trainer.max_epochs=1"))
    return folder


@pytest.fixture(scope="module")
def diagnosed(start, runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("diagnosed")
    status, stdout, stderr = script(
        "diagnose", f"checkpoint={start}", *SIZES, f"runs=[{runs}/fl*,{runs}/tracer]", f"hydra.run.dir={out}"
    )
    assert status == 0, stderr
    return out, stdout


def read(folder):
    """What difficulty.json holds; it must be JSON for everyone, without NaN."""

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads((folder / "difficulty.json").read_text(), parse_constant=refuse)


@pytest.mark.slow
def test_numbers_are_those_of_the_features(start, diagnosed, tmp_path):
    with hydra_context():
        cfg = composed(tmp_path)
        backbone = build_backbone(cfg, start)
        data = build_data(cfg, backbone)
    model = backbone.model.eval()
    texts = zero_shot_head(model.encode_text, data.prompts())
    eval_set = next(eval_set for eval_set in data.eval_sets if eval_set.name == "small")
    images, labels = [], []
    for batch in data.eval_loader(eval_set):
        with torch.no_grad():
            images.append(model.encode_image(data.on_after_batch_transfer(batch, 0).images)[batch.labels >= 0])
        labels.append(batch.labels[batch.labels >= 0])
    expected = difficulty(labelled(torch.cat(images), torch.cat(labels), texts))
    small_set = read(diagnosed[0])["model"]["small"]
    assert {name: small_set[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert (small_set["split"], small_set["role"]) == ("test", "ood")


@pytest.mark.slow
def test_accuracy_is_that_which_the_runs_began_with(runs, diagnosed):
    difficulties = read(diagnosed[0])["model"]
    before = json.loads((runs / "flyp/run/results.json").read_text())["zero_shot"]
    assert set(difficulties) == set(STYLES)
    for style in STYLES:
        assert (difficulties[style]["n"], difficulties[style]["role"]) == (before[style]["n"], before[style]["role"])
        assert difficulties[style]["accuracy"] == pytest.approx(before[style]["accuracy"], abs=1e-6)
    assert "did not begin with" not in diagnosed[1]


@pytest.mark.slow
def test_changes_are_those_of_the_runs_and_are_correlated(runs, diagnosed):
    results = read(diagnosed[0])
    changes = {(entry["runs"], entry["data_set"]): entry for entry in results["changes"]}
    assert set(changes) == {(f"method={method}", style) for method in ("flyp", "tracer") for style in STYLES}
    after = json.loads((runs / "tracer/run/results.json").read_text())
    for style, sign, quantity in (("spurious", 1, "gain"), ("small", -1, "forgetting")):
        gained = after["student"][style]["accuracy"] - after["zero_shot"][style]["accuracy"]
        entry = changes["method=tracer", style]
        assert (entry["quantity"], entry["change"]) == (quantity, pytest.approx(sign * gained))
    related = results["correlations"]["model"]
    assert set(related["gain"]) == set(NUMBERS)
    assert related["gain"]["iimm"] == {"rho": None, "p": None, "n": 2, "sets": 1}
    assert related["forgetting"]["iimm"]["n"] == 18
    assert -1 <= related["forgetting"]["iimm"]["rho"] <= 1


@pytest.mark.slow
def test_tables_and_figures_are_written(diagnosed):
    out, stdout = diagnosed
    with (out / "difficulty.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["data_set"] for row in rows] == list(read(out)["model"])
    assert float(rows[0]["iimm"]) == read(out)["model"]["spurious"]["iimm"]
    assert Image.open(out / "forgetting-model.png").width > 500
    assert "blurred" in (out / "forgetting-model.svg").read_text()
    assert not (out / "gain-model.png").exists()  # one ID set has nothing to be drawn against
    for words in ("by modality", "by class", "ACS", "IIMM", "are not independent", "blurred"):
        assert words in " ".join(stdout.split())
    assert max(map(len, stdout.split("measuring")[1].splitlines()[2:-1])) <= 100


@pytest.mark.slow
def test_a_run_brings_its_backbone_and_data_and_both_of_its_models(runs, tmp_path):
    folder = runs / "tracer/run"
    status, stdout, stderr = script(
        "diagnose", f"checkpoint={folder}", f"runs={runs}", "trainer.limit_test_batches=1", f"hydra.run.dir={tmp_path}"
    )
    assert status == 0, stderr
    results = read(tmp_path)
    assert list(results)[:2] == ["student", "teacher"]
    assert results["student"]["plain"]["iimm"] != results["teacher"]["plain"]["iimm"]
    assert "did not begin with this student" in stdout


@pytest.mark.slow
def test_without_runs_nothing_is_compared(start, tmp_path):
    options = ["trainer.limit_test_batches=1", "seed=1", f"hydra.run.dir={tmp_path}"]
    status, stdout, stderr = script("diagnose", f"checkpoint={start}", *SIZES, *options)
    assert status == 0, stderr
    assert (read(tmp_path)["changes"], read(tmp_path)["correlations"]) == (None, None)
    assert "forgetting" not in stdout
    assert {path.name for path in tmp_path.iterdir()} >= {"difficulty.json", "difficulty.csv"}
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.exhaustive
def test_two_processes_measure_the_same(start, tmp_path):
    """In double precision, where the size of a batch does not show."""
    double = ["trainer.precision=64-true", "data.eval_batch_size=101", *SIZES, f"checkpoint={start}"]
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    for name, options in (("one", ["trainer=cpu"]), ("two", ddp)):
        command = [sys.executable, str(ROOT / "scripts/diagnose.py"), *options, *double]
        done = subprocess.run([*command, f"hydra.run.dir={tmp_path / name}"], capture_output=True, text=True)
        succeeded(done)
        assert (done.stdout + done.stderr).count("ACS: mean cosine") == 1
    one, two = (read(tmp_path / name)["model"] for name in ("one", "two"))
    for style in STYLES:
        assert one[style] == pytest.approx(two[style], abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["checkpoint=nowhere"], "error: checkpoint=nowhere: no such file"),
        (["models=[teacher]"], "error: models must be null or some of model"),
        (["models=student"], "error: models must be null or a list such as [student]"),
        (["runs=nowhere*"], "error: runs: nowhere*: no such folder"),
        (["runs=3"], "error: runs must be null, a folder or pattern, or a list such as [DIR,DIR], found 3"),
        (["runs=[]"], "error: runs must be null, a folder or pattern, or a list"),
        (["runs={other}"], "error: runs: tested on mine, other, and this is spurious, plain"),
        (["suite=pacs"], "error: suite names test sets of shards"),
        (["seed=-1"], "error: seed must be a whole number >= 0 and <= 4294967295, found -1"),
    ],
)
def test_mistakes_are_one_line(start, tmp_path, arguments, message):
    write_run(tmp_path / "other", scores(0.9, 0.8))
    formatted = [text.replace("{other}", str(tmp_path / "other")) for text in arguments]
    place = f"hydra.run.dir={tmp_path / 'out'}"
    named = [] if "checkpoint=nowhere" in formatted else [f"checkpoint={start}"]
    status, _, stderr = script("diagnose", *named, *SIZES, *formatted, place)
    assert status == 1
    assert message in stderr
    assert stderr.count("error: ") == 1
    assert "Traceback" not in stderr


@pytest.mark.slow
def test_a_model_whose_features_are_no_numbers_is_named(start, tmp_path):
    state = load_file(start)
    state["visual.proj"] = state["visual.proj"] * torch.nan
    save_file(state, tmp_path / "broken.safetensors")
    options = [f"checkpoint={tmp_path}/broken.safetensors", *SIZES, "trainer.limit_test_batches=1"]
    status, _, stderr = script("diagnose", *options, f"hydra.run.dir={tmp_path}")
    assert status == 1
    assert "error: suite.spurious: the model's features are not finite" in stderr
