"""Runs that train little: from the command line's settings to the exported model."""

import functools
import json

import open_clip
import pytest
import torch

from tests.commands.helpers import composed, hydra_context, script
from tests.engine.test_run import run_until
from tracer_lightning.commands.train import run

PEFT = ("a_clip", "bitfit", "lora", "clip_adapter")  # the last cannot be exported


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and results of a short run of each, made when it is asked for."""

    @functools.cache
    def make(peft):
        folder = tmp_path_factory.mktemp(peft)
        with hydra_context():
            return folder / "run", run(composed(folder, f"peft={peft}"))

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    "peft",
    [pytest.param(peft, marks=[pytest.mark.exhaustive] * (peft not in ("lora", "clip_adapter"))) for peft in PEFT],
)
def test_a_run_trains_and_its_checkpoint_has_its_scores(finished, tmp_path, peft):
    folder, results = finished(peft)
    assert results["student"] != results["zero_shot"]
    assert 0 < results["parameters"]["trained"] < 0.02 * results["parameters"]["total"]
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(
        state["student.model.token_embedding.weight"], state["teacher.module.model.token_embedding.weight"]
    )
    status, _, stderr = script("evaluate", f"checkpoint={folder}", f"hydra.run.dir={tmp_path}")
    assert status == 0, stderr
    scored = json.loads((tmp_path / "evaluation.json").read_text())
    for model in ("student", "teacher"):
        for data_set, scores in results[model].items():
            assert scored[model][data_set]["accuracy"] == pytest.approx(scores["accuracy"], abs=1e-12)


@pytest.mark.exhaustive
def test_a_teacher_of_merged_weights_is_evaluated_exported_and_continued(tmp_path):
    settings = ("peft=lora", "teacher.lora_space=merged")
    with hydra_context():
        run_until(composed(tmp_path, *settings), epochs=1)
        results = run(composed(tmp_path, *settings, "resume=auto"))
        (tmp_path / "unbroken").mkdir()
        assert run(composed(tmp_path / "unbroken", *settings))["teacher"] == results["teacher"]
    for arguments in ([f"checkpoint={tmp_path / 'run'}"], [f"checkpoint={tmp_path / 'out'}", "data=digits"]):
        if "data=digits" in arguments:
            script("export", f"checkpoint={tmp_path / 'run'}", "model=teacher", f"out={tmp_path / 'out'}")
        status, _, stderr = script("evaluate", *arguments, f"hydra.run.dir={tmp_path}")
        assert status == 0, stderr
        scored = json.loads((tmp_path / "evaluation.json").read_text())
        scores = scored.get("teacher", scored.get("model"))
        for data_set, values in results["teacher"].items():
            assert scores[data_set]["accuracy"] == pytest.approx(values["accuracy"], abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in PEFT[:2])])
def test_it_is_exported_as_a_plain_model_with_the_same_scores(finished, tmp_path, peft):
    folder, results = finished(peft)
    status, _, stderr = script("export", f"checkpoint={folder}", "model=teacher", f"out={tmp_path / 'out'}")
    assert status == 0, stderr
    open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    status, _, stderr = script("evaluate", f"checkpoint={tmp_path / 'out'}", f"hydra.run.dir={tmp_path}")
    assert status == 0, stderr
    scored = json.loads((tmp_path / "evaluation.json").read_text())["model"]
    for data_set, scores in results["teacher"].items():
        assert scored[data_set]["accuracy"] == pytest.approx(scores["accuracy"], abs=1e-12)


@pytest.mark.slow
def test_adapters_have_no_place_in_open_clip(finished, tmp_path):
    status, _, stderr = script("export", f"checkpoint={finished('clip_adapter')[0]}", f"out={tmp_path / 'out'}")
    assert status == 1
    assert (
        "error: image_adapter.down.weight can't be part of an open_clip model; evaluate the checkpoint instead"
        in stderr
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_does_not_start_from_unmerged_weights(finished, tmp_path):
    folder = finished("lora")[0]
    with hydra_context(), pytest.raises(ValueError, match="the weights have LoRA updates; export the run"):
        run(composed(tmp_path, f"init_weights={folder}"))


@pytest.mark.slow
def test_a_continued_run_of_lora_ends_as_an_unbroken_one(finished, tmp_path):
    with hydra_context():
        run_until(composed(tmp_path, "peft=lora"), epochs=1)
        results = run(composed(tmp_path, "peft=lora", "resume=auto"))
    assert results["student"] == finished("lora")[1]["student"]
    assert results["teacher"] == finished("lora")[1]["teacher"]
