"""Configurations of the tasks of a sequence."""

import pytest
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tracer_lightning.config.continual import check_suites, compose_tasks, prepare_sequence
from tracer_lightning.config.prerequisite import compose_prerequisite


@pytest.fixture(autouse=True)
def hydra():
    with hydra_context():
        yield


def test_a_task_changes_the_data_and_the_folder_alone(tmp_path):
    cfg = composed(tmp_path, "experiment=continual_pacs", "data.root=/shards", "tasks=[sketch,photo]", tiny=False)
    tasks = compose_tasks(cfg)
    assert [(task.name, task.sets) for task in tasks] == [("sketch", ("sketch",)), ("photo", ("photo",))]
    second = tasks[1].cfg
    assert second.paths.output_dir == str(tmp_path / "run/2-photo")
    assert second.callbacks.checkpoint.dirpath == f"{second.paths.output_dir}/checkpoints"
    assert second.data.train == {"folder": "pacs_photo", "split": "train", "shards": None, "samples": None}
    assert second.suite == {
        "domains": {"folder": "pacs_*", "split": "test", "role": "ood"},
        "photo": {"folder": "pacs_photo", "split": "test", "role": "id"},
    }
    plain, single = (OmegaConf.to_container(each, resolve=False) for each in (tasks[0].cfg, cfg))
    assert {key for key in single if plain[key] != single[key]} == {"data", "suite", "paths", "run", "tasks"}


def test_a_task_may_have_its_own_number_of_epochs(tmp_path):
    cfg = composed(tmp_path, "experiment=continual_digits", "+tasks.small.epochs=2", tiny=False)
    assert [task.cfg.trainer.max_epochs for task in compose_tasks(cfg)] == [5, 2, 5, 5]
    cfg.tasks.small.epochs = "many"
    with pytest.raises(ValueError, match=r"tasks\.small\.epochs must be"):
        compose_tasks(cfg)


@pytest.mark.parametrize(
    ("suites", "message"),
    [
        ({"one": {"a": [], "b": []}, "two": {"a": []}}, r"tasks.two.sets: b is no test set of this task, which has a"),
        (
            {"one": {"a": [], "b": []}, "two": {"b": [], "c": []}},
            "tasks: one has the test sets a, b and two has b, c; every task must test the sets of all tasks",
        ),
        (
            {"one": {"a": ["cat"], "b": ["dog"]}, "two": {"a": ["cat", "dog"], "b": ["dog"]}},
            r"tasks: a has other classes with the data of two \(2\) than with those of one \(1\); .* role other",
        ),
    ],
)
def test_tasks_must_test_the_same_sets(suites, message):
    with pytest.raises(ValueError, match=message):
        check_suites({"one": ["a"], "two": ["b"]}, suites)


@pytest.mark.slow
def test_adapters_that_can_not_be_merged_are_refused(tmp_path):
    for peft, expected in (("none", False), ("lora", True)):
        cfg = composed(tmp_path, "tasks=[small,noisy]", f"peft={peft}", "continual.general=[plain,thin]")
        preparation = prepare_sequence(cfg, compose_tasks(cfg))
        assert preparation.merges == expected
        assert preparation.general == ("plain", "thin")
    cfg = composed(tmp_path, "tasks=[small,noisy]", "peft=clip_adapter")
    with pytest.raises(ValueError, match="peft=clip_adapter: what it adds can't be merged"):
        prepare_sequence(cfg, compose_tasks(cfg))


def test_a_prerequisite_is_a_single_run(tmp_path):
    cfg = composed(tmp_path, tiny=False)
    cfg.prerequisite.experiment = "continual_digits"
    with pytest.raises(
        ValueError, match=r"prerequisite.experiment=continual_digits is a sequence of tasks; choose a run"
    ):
        compose_prerequisite(cfg)


@pytest.mark.slow
def test_updates_of_models_that_answer_are_merged(tmp_path):
    pytest.importorskip("peft")
    small = ("backbone.text_cfg.layers=1", "backbone.vision_cfg.layers=1", "data.renderings_per_digit=1")
    cfg = composed(tmp_path, "experiment=questions", "peft=lora_all", *small, tiny=False)
    trained = {"first": 1, "second": 2}
    cfg.tasks = {name: {"sets": ["id/id/digit_or"], "data": {"rendering_seed": seed}} for name, seed in trained.items()}
    assert prepare_sequence(cfg, compose_tasks(cfg)).merges
