"""Runs on another modality: aligned, trained, continued, evaluated, and what is refused."""

import json
from copy import deepcopy
from shutil import copytree

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from tests.commands.helpers import collect, composed, hydra_context, script
from tests.data.arrays.helpers import series_data, write_archive, write_npz, write_values
from tracer_lightning.commands.train import run, train
from tracer_lightning.config.backbones import finished_backbone
from tracer_lightning.config.ignored import ignored_settings
from tracer_lightning.engine.run_folder import ALIGNMENT, ALIGNMENT_LOG, CHECKPOINT

SMALL = (
    *("embedder=conv1d", "data=series", "data.name=Toy", "data.held_out.fraction=0", "data.batch_size=4"),
    *("data@align.source=digits", "align.steps=3", "align.samples=8", "align.source_samples=40"),
)


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / "archive")


def overrides(archive, *more):
    return [*SMALL, f"data.root={archive}", *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of TRACER with two epochs of one step, after three steps of stage 1, and its folder."""
    parent = tmp_path_factory.mktemp("cross_modal")
    archive = write_archive(parent / "archive")
    with hydra_context():
        results = run(composed(parent, *overrides(archive, "align=fa_mi")))
    return parent / "run", results, archive


@pytest.mark.slow
def test_a_run_reports_its_embedder_before_and_after(finished):
    folder, results, _ = finished
    before, after = results["alignment"]["before"], results["alignment"]["after"]
    assert before != after
    measurements = {"distance", "distortion", "entropy", "bound", "log_loss", "accuracy", "shift", "shift_bound"}
    assert set(before) == measurements
    assert all(values["shift"] <= values["shift_bound"] for values in (before, after))
    assert results["alignment"]["lipschitz"] > 0
    assert "recalibration" not in results["alignment"]
    cells = f'>{before["distance"]:.3f}</span></td><td><span class="value">{after["distance"]:.3f}<'
    assert cells in (folder / "report.html").read_text()
    assert 0 <= results["before"]["Toy"]["accuracy"] <= 1
    assert results["teacher"] is not None
    assert "zero_shot" not in results
    assert (folder / ALIGNMENT_LOG).read_text().splitlines()[0] == (
        "step,distance,labels,source_distance,distortion,entropy,bound,log_loss"
    )
    assert len((folder / ALIGNMENT_LOG).read_text().splitlines()) == 4
    assert json.loads((folder / "results.json").read_text())["alignment"]["after"] == after
    assert "Stage 1, on the samples of each step" in (folder / "report.html").read_text()
    assert yaml.safe_load((folder / "config.yaml").read_text())["embedder"]["shape"] is None


@pytest.mark.slow
def test_a_continued_run_does_not_repeat_stage_1(tmp_path, finished, capsys):
    folder, results, archive = finished
    copytree(folder, tmp_path / "run")
    (tmp_path / "run/results.json").unlink()
    checkpoint = tmp_path / "run/checkpoints"
    (checkpoint / "previous.ckpt").replace(checkpoint / "last.ckpt")  # after the first of two epochs
    (tmp_path / "run" / ALIGNMENT_LOG).unlink()
    with hydra_context():
        again = run(composed(tmp_path, *overrides(archive, "align=fa_mi", "resume=auto")))
    assert "stage 1" not in capsys.readouterr().out
    assert not (tmp_path / "run" / ALIGNMENT_LOG).exists()
    for part in ("before", "student", "teacher", "alignment"):
        assert again[part] == results[part]
    first, second = (torch.load(path / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for path in
                     (folder, tmp_path / "run"))  # fmt: skip
    assert all(torch.equal(second[name], value) for name, value in first.items() if isinstance(value, torch.Tensor))
    (tmp_path / "run/results.json").unlink()
    with hydra_context(), pytest.raises(ValueError, match=r"align\.steps: this run has 9 and the checkpoint 3"):
        run(composed(tmp_path, *overrides(archive, "align=fa_mi", "resume=auto", "align.steps=9")))


@pytest.mark.slow
def test_a_finished_run_is_evaluated_with_its_embedder(tmp_path, finished):
    folder, results, _ = finished
    status, _, err = script("evaluate", f"checkpoint={folder}", f"paths.outputs={tmp_path}", "run=e")
    assert status == 0, err
    scores = json.loads((tmp_path / "evaluate/e/evaluation.json").read_text())
    for model in ("student", "teacher"):
        assert scores[model]["Toy"]["accuracy"] == results[model]["Toy"]["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("export", ["out=exported"], "an embedder of another modality can't be part of an open_clip model"),
        ("changed", ["start={start}"], "changed is for images"),
        ("diagnose", [], "diagnose is for images"),
        ("merge", [], "merge is for images"),
        ("similarity", [], "similarity is for images"),
        ("predict", ["images=photos"], "predict is for images"),
    ],
)
def test_what_needs_images_is_refused(tmp_path, finished, monkeypatch, command, arguments, message):
    monkeypatch.chdir(tmp_path)
    folder, _, _ = finished
    key = "first" if command == "similarity" else "checkpoint"
    status, _, err = script(command, f"{key}={folder}", *(text.format(start=folder) for text in arguments))
    assert status == 1
    assert err.startswith("error: ")
    assert message in err


@pytest.mark.slow
def test_arrays_are_embedded_as_in_the_evaluation(tmp_path, finished):
    folder, _, archive = finished
    data = series_data(archive, held_out={"fraction": 0.0, "seed": 0})
    raw = [[[7.0] * 6, [4, 5, 4, 5, 4, 5]], [[0, 1, *[np.nan] * 4], [6, 6, *[np.nan] * 4]]]  # the test set
    np.save(tmp_path / "test.npy", np.array(raw))
    out = f"out={tmp_path}/features.npy"
    status, stdout, err = script("embed", f"checkpoint={folder}", f"images={tmp_path}/test.npy", out, "num_workers=0")
    assert status == 0, err
    assert "2 x 64 features" in stdout
    features = torch.from_numpy(np.load(tmp_path / "features.npy"))
    settings = OmegaConf.create(torch.load(folder / CHECKPOINT, weights_only=True)["hyper_parameters"])
    model = finished_backbone(settings, folder / CHECKPOINT, "checkpoint").model.eval()
    dataset = data.eval_dataset(data.eval_sets[0])
    with torch.no_grad():
        expected = model.encode_image(torch.stack([dataset[0, index].image for index in range(2)]))
    torch.testing.assert_close(features, expected)
    assert (tmp_path / "features.csv").read_text() == "sample\n0\n1\n"
    np.save(tmp_path / "other.npy", np.zeros((3, 2, 7)))
    status, _, err = script("embed", f"checkpoint={folder}", f"images={tmp_path}/other.npy", out, "num_workers=0")
    assert status == 1
    assert "must be samples of the shape (2, 6), which this model takes; found (3, 2, 7), float64" in err


@pytest.mark.slow
@pytest.mark.parametrize("more", [("method=lp", "align=none"), ("method=ft", "peft=lora", "align=fld")])
def test_stage_2_has_any_method(tmp_path, archive, more):
    with hydra_context():
        results = run(composed(tmp_path, *overrides(archive, *more)))
    assert results["student"]["Toy"]["n"] == 2
    assert (tmp_path / "run" / ALIGNMENT).exists()


@pytest.fixture(scope="module")
def recraft(tmp_path_factory):
    """Configuration of a run with a distance and a term of labels."""
    parent = tmp_path_factory.mktemp("recraft")
    with hydra_context():
        return composed(parent, *overrides(write_archive(parent / "archive"), "align=fa_fld"))


TARGET = "embedder._target_"
CONV2D = "tracer_lightning.models.open_clip.embedders.conv2d"
HEAD = "align.source_head.module._target_"
NO_TERMS = {"align.transport": None, "align.labels": None}
BAD = {
    "nothing to learn": ({"embedder": {}}, "align=fa_fld learns an embedder, and embedder=pixels has none to learn"),
    "a source of pixels": (
        {"embedder": {}, **NO_TERMS},
        r"align\.source is for stage 1, which embedder=pixels doesn't have; leave it out, or choose embedder=conv1d",
    ),
    "recalibration for pixels": (
        {"embedder": {}, **NO_TERMS, "align.source": None, "align.recalibrate.penalty": 100},
        r"align\.recalibrate\.penalty is for stage 1, which embedder=pixels doesn't have",
    ),
    "recalibration without a source": (
        {**NO_TERMS, "align.source": None, "align.recalibrate.penalty": 100},
        r"align\.recalibrate\.penalty must be 0 where there are no source data",
    ),
    "pixels": (
        {"embedder": {}, **NO_TERMS, "align.source": None},
        r"data: samples have the shape \(2, 6\), and the embedder takes \(3, 32, 32\); .*choose embedder=conv1d",
    ),
    "images": ({"callbacks.report.images": 2}, r"callbacks\.report\.images must be 0 with an embedder"),
    "maps": ({TARGET: CONV2D}, r"embedder: shape must be that of maps \(C, H, W\), got \(2, 6\)"),
    "shape": ({"embedder.shape": [2, 7]}, r"samples have the shape \(2, 6\), and the embedder takes \(2, 7\)"),
    "tokens": ({"embedder.max_tokens": 0}, "embedder: max_tokens must be >= 1 and <= 4096, got 0"),
    "no source": ({"align.source": None}, "align=fa_fld compares with the data that the model was pretrained on"),
    "one sample": ({"align.samples": 1}, r"align\.samples must be a whole number >= 2, found 1"),
    "one source sample": ({"align.source_samples": 1}, r"align\.source_samples must be a whole number >= 2, found 1"),
    "no steps": ({"align.steps": 0}, r"align\.steps must be a whole number >= 1, found 0"),
    "learning rate": ({"align.lr": 0}, r"align\.lr must be a number > 0, found 0"),
    "weight": ({"align.weight": -1}, r"align\.weight must be a number >= 0, found -1"),
    "schedule": ({"align.schedule": "both"}, r"align\.schedule must be joint or sequential, found 'both'"),
    "space": ({"align.space": "pixels"}, r"align\.space must be body or tokens, found 'pixels'"),
    "a sequence of one": (
        {"align.schedule": "sequential", "align.labels": None},
        "align: schedule must be 'joint' for an objective of one",
    ),
    "channels last": ({"compute.channels_last": True}, r"compute\.channels_last must be false with an embedder"),
    "a head by its name": (
        {"align.source_head": "linear"},
        r"align\.source_head must be an option of the group head, .*source_head=probe or .*zero_shot, found 'linear'",
    ),
    "a source by its name": (
        {"align.source": "digits"},
        r"align\.source must be null or an option of the group data, chosen as in data@align\.source=image_folder",
    ),
    "no head": ({HEAD: "tracer_lightning.models.heads.no_head"}, "align: source_head must make a predictor"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_named(recraft, case):
    changes, message = BAD[case]
    cfg = deepcopy(recraft)
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, merge=False)
    with pytest.raises(ValueError, match=message):
        run(cfg)


NO_LABELS = {"align.name": "fa", "align.labels": None}
NO_DISTANCE = {"align.name": "fld", "align.transport": None}
NOTHING = {"align.name": "none", **NO_TERMS}
IGNORED = {
    "weight": ({**NO_LABELS, "align.weight": 5.0}, ["align.weight=5.0 is ignored: align=fa has no term of labels"]),
    "distance": (
        {**NO_DISTANCE, "align.distance": "sliced"},
        ["align.distance=sliced is ignored: align=fld minimises no distance"],
    ),
    "nothing learned": (
        {**NOTHING, "align.lr": 0.1},
        [
            "align.steps=3 is ignored: align=none learns nothing",
            "align.lr=0.1 is ignored: align=none learns nothing",
            "align.samples=8 is ignored: align=none learns nothing",
        ],
    ),
    "slopes": (
        {"align.recalibrate.tau": 1.0},
        ["align.recalibrate.tau=1.0 is ignored: align.recalibrate.penalty is 0"],
    ),
    "pixels": (
        {"embedder": {}, "align.weight": 5.0, "align.steps": 100, "align.samples": 128, "align.source_samples": 2000},
        ["align.weight=5.0 is ignored: embedder=pixels has no stage 1"],
    ),
    "none": ({"align.weight": 5.0, "align.distance": "sliced"}, []),
    "kernel": (
        {"kernel.beta": 1.0, "teacher.module": {"_target_": "EMA"}},
        ["kernel is ignored: the teacher is no weighted average of all steps, or there is none"],
    ),
    "a kernel that is used": ({"kernel.beta": 1.0, "teacher.module": {"_target_": "WMA", "kernel": {}}}, []),
}


@pytest.mark.parametrize("case", IGNORED)
def test_settings_without_effect_are_named(recraft, case):
    changes, lines = IGNORED[case]
    cfg = deepcopy(recraft)
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, merge=False)
    with hydra_context():
        assert ignored_settings(cfg) == lines


def test_series_are_no_source(recraft):
    cfg = deepcopy(recraft)
    cfg.align.source = cfg.data
    with pytest.raises(ValueError, match=r"align\.source: samples must have the shape \(3, 32, 32\), found \(2, 6\)"):
        run(cfg)


def test_sequences_of_tasks_are_of_images(tmp_path):
    with hydra_context(), pytest.raises(ValueError, match="tasks: an embedder of another modality"):
        train(composed(tmp_path, "embedder=conv1d", "experiment=continual_digits"))


def test_arrays_of_images_need_no_embedder(tmp_path):
    path = write_npz(tmp_path / "mine.npz", shape=(3, 32, 32))
    with hydra_context():
        results = run(composed(tmp_path, "method=zs", "data=arrays", f"data.root={path}", "data.batch_size=4"))
    assert results["zero_shot"]["mine"]["n"] == 9


VALUES = ("method=ft", "teacher=wma", "distill_losses=[fd]", "embedder=conv2d", "data=arrays", "data.batch_size=4")


def predict(tmp_path, task, *more):
    """A run that predicts values, after three steps of stage 1 on clusters of them."""
    path = write_values(tmp_path / "values.npz", task)
    align = ("align=fa_mi", "align.pseudo_labels=3", *SMALL[-4:])
    with hydra_context():
        return run(composed(tmp_path, *VALUES, *align, f"prediction={task}", f"data.root={path}", *more))


@pytest.mark.slow
def test_maps_are_predicted_and_evaluated_again(tmp_path, capsys):
    results = predict(tmp_path, "dense", "optimized_metric=relative_l2")
    assert "take 3 clusters of the training values" in capsys.readouterr().out
    for model in ("before", "student", "teacher"):
        assert results[model]["values"]["n"] == 9
        assert 0 < results[model]["values"]["relative_l2"] < 2
    assert results["headline"] == "relative_l2"
    assert set(results["validation"]["values"]) == {"relative_l2", "mae", "rmse"}
    assert (tmp_path / "run/report.html").exists()
    assert not (tmp_path / "run/classes.json").exists()
    status, _, err = script("evaluate", f"checkpoint={tmp_path}/run", f"paths.outputs={tmp_path}", "run=e")
    assert status == 0, err
    scores = json.loads((tmp_path / "evaluate/e/evaluation.json").read_text())
    for model in ("student", "teacher"):
        assert scores[model]["values"] == results[model]["values"]
    status, _, err = script("predict", f"checkpoint={tmp_path}/run", "images=.", f"hydra.run.dir={tmp_path}/predict")
    assert status == 1
    assert "predict is for images, and the backbone has an embedder of another modality" in err
    assert collect([str(tmp_path / "run"), "--metrics", "relative_l2", "mae", "--out", str(tmp_path / "tables")]) == 0
    assert "relative L2" in capsys.readouterr().out
    assert (tmp_path / "tables/alignment.png").exists()


@pytest.mark.exhaustive
@pytest.mark.parametrize("task", ["multilabel", "regression", "mask"])
def test_every_kind_of_values_is_predicted(tmp_path, task):
    results = predict(tmp_path, task)
    primary = results["headline"]
    assert results["metrics"][primary]["better"] == "lower"
    assert all(results[model]["values"][primary] >= 0 for model in ("before", "student", "teacher"))


@pytest.mark.exhaustive
def test_a_run_of_values_continues(tmp_path):
    results = predict(tmp_path, "regression")
    (tmp_path / "run/results.json").unlink()
    checkpoints = tmp_path / "run/checkpoints"
    (checkpoints / "previous.ckpt").replace(checkpoints / "last.ckpt")
    again = predict(tmp_path, "regression", "resume=auto")
    assert all(again[part] == results[part] for part in ("before", "student", "teacher", "alignment"))


@pytest.mark.exhaustive
def test_what_predicts_nothing_of_the_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"head=zero_shot needs classes, .* choose head=values or, for maps, head="):
        predict(tmp_path, "regression", "head=zero_shot")
    with pytest.raises(ValueError, match="evaluation"):
        predict(tmp_path, "regression", "evaluation=classification")
