"""The configurations of the runs that a sequence of tasks consists of."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from tracer_lightning.config.backbones import add_peft, bare_backbone
from tracer_lightning.config.build import build_training_data
from tracer_lightning.config.checkpoint import DATA
from tracer_lightning.config.errors import setting
from tracer_lightning.config.local_data import local_data
from tracer_lightning.config.schema import TRAIN
from tracer_lightning.config.type_checks import TARGET, target_of
from tracer_lightning.config.validate import check_schema, validate
from tracer_lightning.data import DataModule
from tracer_lightning.models import Model
from tracer_lightning.storage.run_layout import task_folder
from tracer_lightning.teachers import NoTeacher

TASKS, SETS, EPOCHS = "tasks", "sets", "epochs"
"""Setting and group of the tasks, and keys of a task's own test sets and of its number of epochs."""
TEACHER = "teacher"
SEQUENCE_SCHEMA = {key: TRAIN[key] for key in ("tasks", "continual.hand_on", "continual.general")}
"""Settings that are checked before the configurations of the tasks are made."""


class TaskConfig(NamedTuple):
    """One task of a sequence."""

    name: str
    """Option of the group ``tasks``."""
    sets: tuple[str, ...]
    """Names of the test sets whose mean is the task's score."""
    cfg: DictConfig
    """Configuration of the task's run."""


def requested_tasks() -> list[str] | None:
    """The tasks listed on the command line; None where it lists none.

    Hydra composes a list that is empty like one that is absent, and a repeated task like one that is listed once.
    """
    if not HydraConfig.initialized():
        return None
    requested = None
    for override in OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task)):
        if override.key_or_group == TASKS:
            value: Any = override.value()
            requested = value if isinstance(value, list) else None
    return requested


def is_sequence(cfg: DictConfig) -> bool:
    """Whether the configuration is of a sequence of tasks.

    Raises:
        ValueError: the command line lists no task.
    """
    if requested_tasks() == []:
        raise ValueError("tasks=[] lists no task; list one or more, or set tasks=null for a single run")
    return cfg.tasks is not None


def compose_tasks(cfg: DictConfig) -> list[TaskConfig]:
    """The configuration of each task's run: that of the sequence with the task's data, in a folder of its own.

    Args:
        cfg: composed configuration with ``tasks`` and ``continual``.

    Raises:
        ValueError: a task is listed twice, or sets anything but data, or the sequence can't be run with the settings.
    """
    check_schema(cfg, SEQUENCE_SCHEMA)
    _check_names(list(cfg.tasks))
    _check_sequence(cfg)
    return [_task_config(cfg, number, str(name)) for number, name in enumerate(cfg.tasks, 1)]


def _check_names(names: Sequence[str]) -> None:
    """Raise ValueError where the composed tasks are not those that the command line lists."""
    requested = names if (listed := requested_tasks()) is None else listed
    for name in requested:
        if requested.count(name) > 1:
            raise ValueError(f"tasks: {name} is listed twice; list each task once")
        if name not in names:
            raise ValueError(f"tasks: the file {name}.yaml must begin with `# @package tasks.{name}`")


def _check_sequence(cfg: DictConfig) -> None:
    """Raise ValueError for settings that a sequence can't be run with."""
    teacher = target_of(cfg.teacher.module.get(TARGET), "teacher.module")
    if cfg.continual.hand_on == TEACHER and isinstance(teacher, type) and issubclass(teacher, NoTeacher):
        raise ValueError("continual.hand_on=teacher: there is none with teacher=none; choose a method with a teacher")
    if cfg.embedder:
        raise ValueError("tasks: an embedder of another modality is made for one data set; choose embedder=pixels")
    if cfg.optimized_metric is not None:
        raise ValueError(f"optimized_metric={cfg.optimized_metric} is of one run; set it to null with several tasks")
    if cfg.trainer.get("fast_dev_run"):
        raise ValueError(
            "trainer.fast_dev_run writes no checkpoint for the next task; set tasks=null, or make it false"
        )


def _task_config(cfg: DictConfig, number: int, name: str) -> TaskConfig:
    node = cfg.tasks[name]
    settings = list(node) if isinstance(node, DictConfig) else []
    if not {SETS, "data"} <= set(settings) <= {SETS, EPOCHS, *DATA}:
        raise ValueError(
            f"tasks.{name} must have {SETS} and data, perhaps suite and {EPOCHS}, and nothing else; found "
            f"{', '.join(map(str, settings)) or 'none of them'} (does its file begin with `# @package tasks.{name}`?)"
        )
    check_schema(cfg, {f"tasks.{name}.{SETS}": list[str]})
    if node.get(EPOCHS) is not None:
        check_schema(cfg, {f"tasks.{name}.{EPOCHS}": int})
    if not node[SETS]:
        raise ValueError(f"tasks.{name}.{SETS} must name one or more of the test sets")
    task = copy.deepcopy(cfg)
    folder = task_folder(Path(cfg.paths.output_dir), number, name)
    with open_dict(task):
        for group in DATA:
            if group in node:
                task[group] = OmegaConf.merge(task[group], node[group])
    if node.get(EPOCHS) is not None:
        task.trainer.max_epochs = node[EPOCHS]
    task.tasks = None
    task.run, task.paths.output_dir = f"{cfg.run}/{folder.name}", str(folder)
    return TaskConfig(name, tuple(node[SETS]), task)


class Preparation(NamedTuple):
    """Properties of a sequence that are known once its data and its model are built."""

    merges: bool
    """Whether low-rank updates are merged into the weights after each task."""
    general: tuple[str, ...]
    """Names of the test sets whose mean is the general score; empty if there are none."""


def prepare_sequence(cfg: DictConfig, tasks: Sequence[TaskConfig]) -> Preparation:
    """Build model and data of all tasks, so that mistakes in a later task show before the first one is trained.

    Args:
        cfg: configuration of the sequence.
        tasks: its tasks; settings that depend on this machine's files are made explicit in their configurations.

    Raises:
        ValueError: a task can't be built, or the tasks don't test the same sets.
    """
    backbone = bare_backbone(tasks[0].cfg, weights_follow=True)
    suites: dict[str, dict[str, list[str]]] = {}
    roles: dict[str, set[str]] = {}
    for task in tasks:
        with setting(f"tasks.{task.name}"), local_data(task.cfg):
            validate(task.cfg, "train")
            data: DataModule = build_training_data(task.cfg, backbone)
        suites[task.name] = {eval_set.name: data.label_names(eval_set) for eval_set in data.eval_sets}
        for eval_set in data.eval_sets:
            roles.setdefault(eval_set.name, set()).add(eval_set.role)
    check_suites({task.name: task.sets for task in tasks}, suites)
    own_sets = {name for task in tasks for name in task.sets}
    general = cfg.continual.general
    if general is None:
        general = [name for name, of_tasks in roles.items() if of_tasks == {"other"} and name not in own_sets]
    for name in general:
        if name not in roles:
            raise ValueError(f"continual.general: {name} is no test set; there are {', '.join(roles)}")
    return Preparation(_adds_updates(cfg, backbone.model), tuple(general))


def check_suites(sets: Mapping[str, Sequence[str]], suites: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Check that every task tests the same sets with the same classes, its own among them.

    Args:
        sets: names of the test sets that are each task's own.
        suites: names of all test sets of each task, with the names of their classes.

    Raises:
        ValueError: they do not.
    """
    first, expected = next(iter(suites.items()))
    for task, suite in suites.items():
        for name in sets[task]:
            if name not in suite:
                raise ValueError(f"tasks.{task}.{SETS}: {name} is no test set of this task, which has {_join(suite)}")
        if suite.keys() != expected.keys():
            raise ValueError(
                f"tasks: {first} has the test sets {_join(expected)} and {task} has {_join(suite)}; every task must "
                "test the sets of all tasks"
            )
        for name, labels in suite.items():
            if labels != expected[name]:
                raise ValueError(
                    f"tasks: {name} has other classes with the data of {task} ({len(labels)}) than with those of "
                    f"{first} ({len(expected[name])}); a set of classes that a task does not train has role other"
                )


def _join(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names))


def _adds_updates(cfg: DictConfig, model: Model) -> bool:
    """Whether parameter-efficient fine-tuning adds low-rank updates; ``model`` is changed.

    Raises:
        ValueError: it adds parameters that can't be merged into the weights.
    """
    names = set(model.state_dict())
    add_peft(cfg, model)
    adds_updates = set(model.state_dict()) != names
    model.merge_updates()
    if set(model.state_dict()) != names:
        raise ValueError(
            f"peft={cfg.peft.name}: what it adds can't be merged into the weights for the next task; choose none, "
            "lora, lora_all, bitfit or a_clip"
        )
    return adds_updates
