"""A sequence of tasks of a family that the package does not know, without one edit in the package."""

import json
import os
import signal
import subprocess
import sys

import lightning.pytorch as pl
import pytest
import torch

from tests.commands.helpers import collect, hydra_context, script, slow
from tests.comparing import differences, without_times
from tests.faults.processes import ROOT, finish, wait_until
from tests.vector_family.test_vector_family import CONF, results_of, vectors
from tracer_lightning.commands.train import run, train

TASKS = "tasks=[near,far]"
FOLDERS = ("1-near", "2-far")


@pytest.fixture(autouse=True)
def hydra():
    with hydra_context():
        yield


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder of a finished sequence of two tasks."""
    folder = tmp_path_factory.mktemp("sequence")
    with hydra_context():
        train(vectors(folder, TASKS))
    return folder / "run"


def outcome(folder):
    """What a sequence that was interrupted has in common with one that was not."""
    contents = {"continual": json.loads((folder / "continual.json").read_text())}
    for task in FOLDERS:
        checkpoint = torch.load(folder / task / "checkpoints/last.ckpt", weights_only=True)
        results = {**without_times(results_of(folder / task)), "start": None}
        parts = {part: checkpoint[part] for part in ("state_dict", "optimizer_states", "global_step")}
        contents[task] = {**parts, "results": results, "metrics": (folder / task / "metrics.csv").read_bytes()}
    return contents


@pytest.mark.slow
def test_the_scores_are_those_of_two_runs_made_by_hand(unbroken, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    run(vectors(tmp_path / "first", "data.samples=200"))
    run(vectors(tmp_path / "second", "data.samples=150", f"init_weights={tmp_path / 'first/run'}"))
    first, second = (results_of(tmp_path / name / "run") for name in ("first", "second"))
    for task, by_hand in zip(FOLDERS, (first, second), strict=True):
        results = results_of(unbroken / task)
        runs = ({**without_times(content), "start": None} for content in (results, by_hand))
        assert not differences(*runs)
    content = json.loads((unbroken / "continual.json").read_text())
    stages = [first["before"], first["student"], second["student"]]
    student = content["models"]["student"]
    assert student["R"] == [[scores["near"]["rmse"], scores["far"]["rmse"]] for scores in stages]
    assert student["bwt"] == pytest.approx(first["student"]["near"]["rmse"] - second["student"]["near"]["rmse"])
    assert student["general"] is None
    assert content["models"]["teacher"]["R"][1][0] == first["teacher"]["near"]["rmse"]
    assert [task["folder"] for task in content["tasks"]] == list(FOLDERS)
    assert content["metric"]["better"] == "lower"
    assert results_of(unbroken / "2-far")["start"] == str(unbroken / "1-near/checkpoints/last.ckpt")
    assert all((unbroken / f"continual.{suffix}").stat().st_size for suffix in ("png", "svg"))


@pytest.mark.slow
def test_the_teacher_is_handed_on(tmp_path):
    train(vectors(tmp_path, TASKS, "continual.hand_on=teacher"))
    first, second = (results_of(tmp_path / "run" / task) for task in FOLDERS)
    assert second["before"] == first["teacher"]
    assert second["before"] != first["student"]
    assert json.loads((tmp_path / "run/continual.json").read_text())["hand_on"] == "teacher"


class Killed(BaseException):
    """Stands for a kill."""


class Kill(pl.Callback):
    """Kill the process, or stand in for it, at a step of a task."""

    def __init__(self, task: str, step: int, by_signal: bool = False) -> None:
        self.task, self.step, self.by_signal = task, step, by_signal

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Kill at the step, where the task's folder is the trainer's."""
        if trainer.global_step == self.step and trainer.default_root_dir.endswith(self.task):
            if self.by_signal:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Killed


def kill(task, step):
    target = "+callbacks.kill._target_=tests.vector_family.test_sequence.Kill"
    return (target, f"+callbacks.kill.task={task}", f"+callbacks.kill.step={step}")


@pytest.mark.slow
def test_a_sequence_continues_in_the_task_where_it_stood(unbroken, tmp_path):
    with pytest.raises(Killed):
        train(vectors(tmp_path, TASKS, *kill("2-far", 8)))
    folder = tmp_path / "run"
    assert not (folder / "continual.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in (folder / "1-near").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="holds a sequence of tasks already; set resume to 'auto' to continue it"):
        train(vectors(tmp_path, TASKS))
    train(vectors(tmp_path, TASKS, "resume=auto"))
    assert not differences(outcome(unbroken), outcome(folder))
    assert finished == {path: path.stat().st_mtime_ns for path in (folder / "1-near").rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_sequence_continues_after_a_task(unbroken, tmp_path, monkeypatch):
    from tracer_lightning.commands import continual

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(continual, "_weights_to_hand_on", killed)
        with pytest.raises(Killed):
            train(vectors(tmp_path, TASKS))
    assert (tmp_path / "run/1-near/results.json").exists()
    assert not (tmp_path / "run/2-far").exists()
    train(vectors(tmp_path, TASKS, "resume=auto"))
    assert not differences(outcome(unbroken), outcome(tmp_path / "run"))


@pytest.mark.exhaustive
def test_a_killed_command_continues_to_the_same_end(unbroken, tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), "--config-dir", str(CONF), "experiment=vectors", TASKS, "run=x"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(*overrides):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        arguments = [*command, "resume=auto", *overrides]
        return subprocess.Popen(arguments, cwd=tmp_path, env=environment, start_new_session=True, **pipes)

    folder = tmp_path / "outputs/vectors/x"
    status, _, errors = finish(start(*kill("2-far", 8), "+callbacks.kill.by_signal=true"))
    assert status == -signal.SIGKILL, errors
    assert (folder / "2-far/checkpoints/last.ckpt").exists()
    process = start()
    wait_until((folder / "2-far/metrics.csv").exists, process)
    status, output, errors = finish(process)
    assert status == 0, errors
    assert "task 1 of 2: near is finished" in output
    assert "after 2. far" in output
    assert not differences(outcome(unbroken), outcome(folder))


@pytest.mark.slow
def test_a_finished_sequence_is_not_repeated(unbroken):
    before = outcome(unbroken)
    times = {path: path.stat().st_mtime_ns for task in FOLDERS for path in (unbroken / task).rglob("*")}
    train(vectors(unbroken.parent, TASKS, "resume=auto"))
    assert not differences(before, outcome(unbroken))
    assert times == {path: path.stat().st_mtime_ns for task in FOLDERS for path in (unbroken / task).rglob("*")}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tasks=[far,near]", "resume=auto"], "tasks: .* holds the sequence near, far, and this one is far, near"),
        slow(
            [TASKS, "resume=auto", "+tasks.far.data.batch_size=16"], "or their data differ; give this one another name"
        ),
        slow([TASKS, "resume=auto", "seed=1"], "seed: this sequence has 1 and the one in .* 0; continue with the same"),
        ([TASKS, "resume=auto", "continual.hand_on=teacher"], "continual.hand_on: this sequence has teacher and"),
        slow(
            [TASKS, "resume=elsewhere"], "resume: a sequence of tasks is continued in its own folder; set it to 'auto'"
        ),
        slow(["resume=auto"], "holds a sequence of tasks; give this run another name"),
        ([TASKS, "continual.hand_on=teacher", "teacher=none"], "continual.hand_on=teacher: .* with teacher=none"),
        slow([TASKS, "continual.hand_on=both"], "continual.hand_on must be student or teacher, found 'both'"),
        slow([TASKS, "continual.general=[middle]"], "continual.general: middle is no test set; there are near, far"),
        slow([TASKS, "optimized_metric=rmse"], "optimized_metric=rmse is of one run; set it to null"),
        slow([TASKS, "trainer.fast_dev_run=1"], "trainer.fast_dev_run writes no checkpoint for the next task"),
        (
            ["tasks=[near,both]"],
            "tasks.both must have sets and data, perhaps suite and epochs, and nothing else; found sets, data",
        ),
        slow(["tasks=[near,unknown_set]"], "tasks.unknown_set.sets: middle is no test set of this task, which has far"),
        slow([TASKS, "+tasks.far.data.sample=1"], "data.sample is not an argument of data._target_"),
    ],
)
def test_mistakes(unbroken, tmp_path, overrides, message):
    folder = unbroken.parent if "resume=auto" in overrides else tmp_path
    with pytest.raises(ValueError, match=message):
        train(vectors(folder, *overrides))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("[]", "error: tasks=[] lists no task; list one or more, or set tasks=null for a single run"),
        slow("[near,near]", "error: tasks: near is listed twice; list each task once"),
        slow("[nope]", "error: tasks=nope: there is no such tasks"),
        ("[near,elsewhere]", "error: tasks: the file elsewhere.yaml must begin with `# @package tasks.elsewhere`"),
    ],
)
def test_mistakes_in_the_list(tmp_path, monkeypatch, tasks, message):
    monkeypatch.chdir(tmp_path)
    options = ("--config-dir", str(CONF), "experiment=vectors", f"tasks={tasks}", "run=x")
    status, _, stderr = script("train", *options)
    assert status == 1
    assert message in stderr
    assert stderr.count("\n") == 1


def test_a_sequence_is_collected_as_one(unbroken, tmp_path, capsys):
    assert collect([str(unbroken), "--model", "all", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "sequences of tasks, RMSE" in shown.out
    assert "against before" not in shown.out  # the tasks are no runs of their own
    content = json.loads((unbroken / "continual.json").read_text())
    rows = [line.split(",") for line in (tmp_path / "continual.csv").read_text().splitlines()]
    values = {(row[-7], row[-3]): row[-2] for row in rows[1:]}
    assert float(values["student", "last"]) == content["models"]["student"]["last"]
    assert float(values["teacher", "bwt"]) == content["models"]["teacher"]["bwt"]
    assert sorted(path.name for path in tmp_path.glob("*")) == ["continual.csv", "continual.md", "continual.tex"]


def test_a_task_named_itself_is_collected_as_a_run(unbroken, capsys):
    assert collect([str(unbroken / "1-near")]) == 0
    shown = capsys.readouterr().out
    assert "sequences of tasks" not in shown
    assert "RMSE" in shown
