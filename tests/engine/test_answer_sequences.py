"""Sequences of tasks of models that answer questions."""

import json

import pytest

from tests.commands.helpers import composed, hydra_context, script
from tests.comparing import without_times
from tests.engine.test_answer_runs import SMALL
from tracer_lightning.config.continual import compose_tasks, prepare_sequence

TASK = """# @package tasks.odd
sets: [thin/odd]
data:
  styles: [thin]
  kinds: [odd]
"""


@pytest.mark.slow
def test_every_task_tests_the_sets_of_all_tasks(tmp_path):
    with hydra_context():
        cfg = composed(tmp_path, "experiment=continual_questions", *SMALL, tiny=False)
        tasks = compose_tasks(cfg)
        preparation = prepare_sequence(cfg, tasks)
    assert [(task.name, task.sets) for task in tasks] == [
        ("options", ("tilted/digit_or",)),
        ("twice", ("tiny/twice",)),
        ("prime", ("hazy/prime",)),
        ("loops", ("turned/loops",)),
    ]
    assert len(preparation.general) == 10
    assert all(name.startswith("general/") for name in preparation.general)
    assert not preparation.merges


@pytest.mark.slow
def test_a_sequence_with_a_task_of_ones_own_is_continued(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/tasks").mkdir(parents=True)
    (tmp_path / "conf/tasks/odd.yaml").write_text(TASK)
    command = (
        "train",
        "experiment=continual_questions",
        "tasks=[loops,odd]",
        "data.task_sets=[turned/loops,thin/odd]",
        *SMALL,
        "trainer.max_steps=2",
        "run=mine",
        "resume=auto",
        "--config-dir=conf",
    )
    status, _, stderr = script(*command)
    assert status == 0, stderr
    folder = tmp_path / "outputs/continual_questions/mine"
    content = json.loads((folder / "continual.json").read_text())
    assert [task["sets"] for task in content["tasks"]] == [["turned/loops"], ["thin/odd"]]
    assert len(content["models"]["student"]["R"]) == 3
    results = json.loads((folder / "2-odd/results.json").read_text())
    for path in ("continual.json", "2-odd/results.json"):
        (folder / path).unlink()  # as if it had been interrupted before its end
    status, stdout, stderr = script(*command)
    assert status == 0, stderr
    assert "task 1 of 2: loops is finished" in stdout
    assert json.loads((folder / "continual.json").read_text()) == content
    again = json.loads((folder / "2-odd/results.json").read_text())
    assert without_times(again) == without_times(results)
