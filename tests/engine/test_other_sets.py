"""Whole runs that are also tested on a set with classes of its own."""

import json

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from tests.callbacks.test_report import assert_complete_in_itself
from tests.commands import stand_ins
from tests.commands.helpers import composed, hydra_context, script
from tests.engine.test_run import run_until
from tracer_lightning.commands.train import run
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.local_data import local_data

SHAPES = ["big circle", "red square", "star", "line"]
TEMPLATES = ["a drawing of a {c}.", "{c}"]
OTHER = "+suite.shapes={folder:shapes,split:test,role:other}"
SMALL = ["data.batch_size=4", "data.num_workers=0", "trainer.max_epochs=2", "optimizer.lr=0.01"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    stand_ins.write(root, stand_ins.PACS)
    stand_ins.write(root, {"shapes": (("test",), 4)}, samples=20)
    (root / "shapes/classnames.txt").write_text("\n".join(SHAPES) + "\n")
    (root / "shapes/zeroshot_classification_templates.txt").write_text("\n".join(TEMPLATES) + "\n")
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Initial weights of all runs."""
    folder = tmp_path_factory.mktemp("start")
    with hydra_context():
        torch.manual_seed(3)
        save_file(build_backbone(composed(folder), None).model.model.state_dict(), folder / "start.safetensors")
    return folder / "start.safetensors"


@pytest.fixture(scope="module")
def finished(sets, start, tmp_path_factory):
    """Folder and results of a run with a head."""
    folder = tmp_path_factory.mktemp("finished")
    with hydra_context():
        results = run(settings(folder, sets, start, "method=ft", "callbacks.report.images=2"))
    return folder / "run", results


def settings(folder, sets, start, *overrides):
    return composed(folder, "data=pacs", f"data.root={sets}", f"init_weights={start}", OTHER, *SMALL, *overrides)


def command(name, out, file, *arguments):
    """What a command writes, and its output."""
    status, stdout, stderr = script(name, *arguments, f"hydra.run.dir={out}")
    assert status == 0, stderr
    return json.loads((out / file).read_text()), stdout


def assert_equal_scores(actual, expected):
    """All scores of ``expected`` are those of ``actual``, which may have more metrics."""
    assert actual.keys() == expected.keys()
    for data_set, values in expected.items():
        for key, value in values.items():
            assert actual[data_set][key] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)


@pytest.mark.slow
def test_a_classifier_is_scored_zero_shot_on_other_sets_as_if_their_classes_were_those_of_training(
    finished, sets, start, tmp_path
):
    folder, results = finished
    for model in ("zero_shot", "student"):
        scores = results[model]
        assert scores["shapes"]["role"] == "other"
        assert scores["avg_other"]["sets"] == ["shapes"]
        assert scores["avg_other"]["ece"] == scores["shapes"]["ece"]
        assert scores["avg_ood"]["sets"] == ["art_painting", "sketch"]
    assert results["student"]["shapes"] != results["zero_shot"]["shapes"]
    alone = ["data=shards", f"data.root={sets}", "data.train={folder:shapes,split:test}", "suite.test.folder=shapes"]
    model = f"checkpoint={folder}"
    plain, _ = command("evaluate", tmp_path, "evaluation.json", model, *alone, "heads=zero_shot", "data.num_workers=0")
    for metric in ("n", "accuracy", "accuracy_top5", "ece", "macro_f1"):
        assert plain["student"]["test"][metric] == pytest.approx(results["student"]["shapes"][metric], abs=1e-6)
    details = json.loads((folder / "details.json").read_text())
    assert details["labels"]["shapes"] == SHAPES
    assert sum(details["student"]["shapes"]["classes"]["n"]) == 20


@pytest.mark.slow
def test_evaluating_a_run_rebuilds_its_other_sets(finished, tmp_path):
    folder, results = finished
    scores, stdout = command("evaluate", tmp_path, "evaluation.json", f"checkpoint={folder}")
    assert_equal_scores(scores["student"], results["student"])
    assert any(line.split()[:2] == ["mean", "other"] for line in stdout.splitlines())
    fitted, _ = command(
        "evaluate",
        tmp_path / "fitted",
        "evaluation.json",
        f"checkpoint={folder}",
        "suite=checkpoint",
        "temperature=shapes",
    )
    assert {**fitted["student"], "shapes": None} == {**scores["student"], "shapes": None}
    fewer, _ = command("evaluate", tmp_path / "fewer", "evaluation.json", f"checkpoint={folder}", "~suite.shapes")
    assert fewer["student"].keys() == {"photo", "art_painting", "sketch", "avg_ood"}
    assert_equal_scores(fewer["student"], {name: scores["student"][name] for name in fewer["student"]})
    assert set(fitted["temperature"]["student"]["ece"]) == {"shapes", "photo", "art_painting", "sketch"}


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_scores(finished, sets, start, tmp_path):
    _, results = finished
    options = (sets, start, "method=ft", "callbacks.report.images=2")
    with hydra_context():
        run_until(settings(tmp_path, *options), 1)
        resumed = run(settings(tmp_path, *options, "resume=auto"))
    for model in ("zero_shot", "student"):
        assert resumed[model] == results[model]


@pytest.mark.slow
def test_commands_include_other_sets(finished, tmp_path):
    folder, results = finished
    merged, stdout = command("merge", tmp_path / "merged", "merge.json", "wise_ft", f"checkpoint={folder}", "alpha=0,1")
    assert_equal_scores(merged["scores"]["1"], results["student"])
    assert_equal_scores(merged["scores"]["0"], results["zero_shot"])
    assert {"ID", "OOD", "other"} <= set(stdout.split())
    assert (tmp_path / "merged/id_ood.png").exists()

    changed, _ = command(
        "changed", tmp_path / "changed", "changed.json", f"checkpoint={folder}", "images=1", "maps=by_tower"
    )
    before, after = results["zero_shot"]["shapes"], results["student"]["shapes"]
    shapes = changed["sets"]["shapes"]
    assert (shapes["role"], shapes["n"]) == ("other", 20)
    assert shapes["counts"]["right_right"] + shapes["counts"]["right_wrong"] == round(20 * before["accuracy"])
    assert shapes["counts"]["right_right"] + shapes["counts"]["wrong_right"] == round(20 * after["accuracy"])
    shown = [image for images in shapes["images"].values() for image in images]
    assert {image[key] for image in shown for key in ("class",)} <= set(SHAPES)

    measured, _ = command("diagnose", tmp_path / "measured", "difficulty.json", f"checkpoint={folder}")
    assert measured["student"]["shapes"]["accuracy"] == pytest.approx(after["accuracy"], abs=1e-6)

    similar, _ = command("similarity", tmp_path / "similar", "similarity.json", f"first={folder}", "split=shapes")
    assert set(similar["comparisons"][0]["inputs"]) == {"shapes", "text"}


@pytest.mark.slow
def test_the_report_shows_other_sets(finished):
    page = assert_complete_in_itself((finished[0] / "report.html").read_text())
    for text in ("other accuracy", "mean other : over shapes", "shapes other"):
        assert text in page.words.replace("other: over", "other : over"), text
    assert any(name in page.words for name in SHAPES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("method=tracer",),
        ("method=lp",),
        ("method=flyp", "peft=lora"),
        ("method=lp_ft", "reproduce=official", "trainer.precision=bf16-mixed", "evaluation.precision=bf16"),
    ],
)
def test_every_model_of_a_run_is_scored(sets, start, tmp_path, overrides):
    with hydra_context():
        results = run(settings(tmp_path, sets, start, *overrides))
    for model in ("zero_shot", "student", "teacher"):
        if results[model] is not None:
            assert results[model]["shapes"]["n"] == 20
    if overrides == ("method=lp",):  # only the head is trained
        assert results["student"]["shapes"] == results["zero_shot"]["shapes"]


@pytest.mark.slow
def test_files_of_texts_are_stored_by_their_lines(sets, start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("o\n#\n*\n-\n")
    (tmp_path / "templates.txt").write_text("sign {c}\n")
    with hydra_context():
        texts = ("+suite.shapes.classnames=names.txt", "+suite.shapes.templates=templates.txt")
        with local_data(settings(tmp_path, sets, start, "method=zs", *texts)) as cfg:
            results = run(cfg)
    config = OmegaConf.load(tmp_path / "run/config.yaml")
    assert config.data.suite.shapes.classnames == ["o", "#", "*", "-"]
    for name in ("names", "templates"):
        (tmp_path / f"{name}.txt").unlink()
    scores, _ = command("evaluate", tmp_path / "evaluated", "evaluation.json", f"checkpoint={tmp_path}/run")
    assert_equal_scores(scores["student"], results["student"])
