"""Runs on questions about images of the user's own, as users start them."""

import json

import pytest
import torch

from tests.commands.helpers import composed, hydra_context, script
from tests.comparing import differences
from tests.data.questions.question_files import rows, write_images, write_rows
from tests.engine.test_run import run_until
from tracer_lightning.commands.train import run

SMALL = (
    "experiment=questions",
    "method=sft_wma",
    "data=vqa",
    "data.num_workers=0",
    "prerequisite=null",
    "backbone.vision_cfg.layers=1",
    "backbone.text_cfg.layers=1",
    "data.batch_size=4",
    "trainer.max_steps=8",
    "trainer.log_every_n_steps=1",
    "scheduler.warmup_steps=1",
)
"""A run of two epochs of four steps."""
TASK = "+data.tests.task={file:task.csv,role:other,text:task}"
MIX = "data.mix={ratio:0.5,sets:{other:{train:{file:other.json}}}}"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Files of questions with images, one of which is missing."""
    folder = tmp_path_factory.mktemp("questions")
    write_images(folder)
    (folder / "images/19.png").unlink()
    write_rows(folder / "mine.jsonl", rows())
    write_rows(folder / "other.json", rows(question="is the digit even ?", answer="yes", options=None))
    task = {"question": "is the digit odd ?", "answer": "no", "distractor": "red"}
    write_rows(folder / "task.csv", [{"image": f"images/{number}.png", **task} for number in range(10)])
    return folder


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """The folder of a finished run, and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    options = (TASK, MIX, "data.train.file=mine.jsonl", f"data.root={root}", "+data.tests.mine={file:mine.jsonl}")
    status, stdout, stderr = script(
        "train", *SMALL, *options, f"paths.outputs={folder}", f"paths.output_dir={folder}", f"hydra.run.dir={folder}"
    )
    assert status == 0, stderr
    return folder, stdout


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
def test_a_run_from_the_command_line(finished, root):
    folder, stdout = finished
    assert f"2 of 20 rows in {root}/mine.jsonl (10.0%) are held out of training for validation" in stdout
    assert "could not be read: " in stdout
    results = results_of(folder)
    assert results["judge"] == "exact"
    assert results["validation"].keys() == {"mine"}
    assert not results["validation_is_test_set"]
    assert (results["student"]["mine"]["n"], results["student"]["task"]["n"]) == (19, 10)
    assert {"image_id/text_id", "image_id/text_task", "avg_other"} <= results["student"].keys()
    assert "distractor_rate" in results["student"]["task"]
    assert "train/unreadable" in (folder / "metrics.csv").read_text()
    assert "train/auxiliary_samples" in (folder / "metrics.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["exact", "option", "contains"])
def test_a_finished_run_is_evaluated_by_each_judge(finished, tmp_path, judge):
    folder, _ = finished
    status, stdout, stderr = script(
        "evaluate",
        f"checkpoint={folder}",
        f"evaluation.test_suite.judge={judge}",
        "evaluation.test_suite.max_new_tokens=4",
        f"hydra.run.dir={tmp_path}",
    )
    assert status == 0, stderr
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["judge"] == judge
    assert ("ece" in evaluation["student"]["mine"]) == (judge == "exact")
    assert ("judge: " in stdout) == (judge != "exact")
    if judge == "exact":
        assert evaluation["student"] == results_of(folder)["student"]


@pytest.mark.slow
def test_a_test_set_is_left_out_of_an_evaluation(finished, tmp_path):
    folder, _ = finished
    status, _, stderr = script("evaluate", f"checkpoint={folder}", "~data.tests.task", f"hydra.run.dir={tmp_path}")
    assert status == 0, stderr
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert "task" in results_of(folder)["student"]
    assert "task" not in evaluation["student"]
    assert evaluation["student"]["mine"] == results_of(folder)["student"]["mine"]


@pytest.mark.slow
def test_a_metric_that_a_judge_lacks_is_refused(root, tmp_path):
    status, _, stderr = script(
        *("train", *SMALL, "data.train.file=mine.jsonl", f"data.root={root}", f"hydra.run.dir={tmp_path}"),
        *("evaluation.test_suite.judge=option", "primary_metric=ece", f"paths.outputs={tmp_path}"),
    )
    assert (status, stderr) == (1, "error: primary_metric must be accuracy or macro_f1, found 'ece'\n")


@pytest.mark.slow
def test_a_killed_run_continues_within_an_epoch_to_the_last_bit(root, tmp_path):
    """The last checkpoint before it is killed is that of step 6."""
    options = (
        *SMALL,
        MIX,
        f"data.root={root}",
        "data.train.file=mine.jsonl",
        "callbacks.checkpoint.every_n_train_steps=3",
    )
    folders = [tmp_path / name for name in ("whole", "broken")]
    with hydra_context():
        for folder in folders:
            folder.mkdir()
        run(composed(folders[0], *options, tiny=False))
        run_until(composed(folders[1], *options, tiny=False), epochs=1)
        run(composed(folders[1], *options, "resume=auto", tiny=False))
    parts = ("state_dict", "optimizer_states", "lr_schedulers", "VqaDataModule", "global_step")
    whole, continued = (torch.load(f / "run/checkpoints/last.ckpt", weights_only=True) for f in folders)
    assert not differences({part: whole[part] for part in parts}, {part: continued[part] for part in parts})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (rows(question="what animal is it?", options=None), "the model's vocabulary lacks 'animal', 'it?'; use words"),
        (rows(answer=None), "mine.jsonl, line 1: it has no answer; its keys are image, question, answer, options; add"),
        (rows(3, options=None), "batch_size=4 is larger than the training set of 2 samples; choose at most 2"),
    ],
)
def test_faulty_files_end_a_run_with_one_line(tmp_path, entries, message):
    write_images(tmp_path)
    write_rows(tmp_path / "mine.jsonl", entries)
    status, _, stderr = script(
        *("train", *SMALL, f"data.root={tmp_path}", "data.train.file=mine.jsonl", f"hydra.run.dir={tmp_path}"),
        f"paths.outputs={tmp_path}",
    )
    assert status == 1
    assert stderr.startswith("error: data: ")
    assert message in stderr
    assert stderr.count("\n") == 1


@pytest.mark.slow
def test_a_data_set_is_prepared_for_models_of_questions_only(root, tmp_path):
    with hydra_context(), pytest.raises(ValueError, match="spec must be that of a model that answers questions"):
        run(composed(tmp_path, "data=vqa", f"data.root={root}", "data.train.file=mine.jsonl", tiny=False))
