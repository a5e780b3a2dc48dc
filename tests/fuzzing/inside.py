"""What a file may say of a run: its settings with mistakes and attacks in them, in checkpoints and run folders."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import re
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from omegaconf import OmegaConf

from tests.commands.helpers import collect
from tests.data.shards.helpers import write
from tests.fuzzing.canary import watched
from tests.fuzzing.running import ENTRIES, LINE, SMALL, Outcome, attempt, bounded, entry, judged
from tracer_lightning.config import checkpoint as checkpoint_module
from tracer_lightning.config.saved_settings import LOCAL, OF_TRAINING

CALL = {"_target_": "os.mkdir", "path": "executed"}
LOGGING = {"version": 1, "formatters": {"x": {"()": "os.mkdir", "path": "executed"}}}
VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 10**6, 10**12, 10**30, -(10**30), 0.5, -0.5, 1e308, float("nan"), float("inf"), True, False, None),
    *("", " ", "x", "null", "???", "../x", "/", "/etc", "~", "x\ny", "x\0y", "\x1b[31m", "é✓", "x" * 5000, "[1, 2]"),
    *("${oc.env:HOME}", "${hydra:runtime.cwd}", "${paths.outputs}", "${data}", "$${seed}", r"\${seed}", "${"),
    *("hf://datasets/evil/x", "file:///etc", "ftp://localhost/x", "hf-hub:evil/x", "local-dir:/etc", "os.mkdir"),
    *([], {}, [1, 2], ["a", "b"], [[]], [None], {"a": 1}, {"": 1}, {1: 2}, {"a b": {"c": 1}}, b"x", {3, 4}, (1, 2)),
    *(CALL, [CALL], {"x": CALL}, {**CALL, "_partial_": True}, {"_target_": "os.mkdir", "_args_": ["executed"]}),
    *({"_target_": ["os.mkdir"]}, {"()": "os.mkdir"}, {"class": "logging.FileHandler", "filename": "executed"}),
    *({"hydra": {"job_logging": LOGGING}}, {"defaults": [{"/peft@_global_": "checkpoint"}]}, ["_self_"]),
    *(torch.ones(2), torch.ones(1).expand(10**12), torch.ones(2, dtype=torch.complex64)),
)
"""What a setting is replaced by."""
KEYS: tuple[tuple[Any, Any], ...] = (
    *(("_target_", "os.mkdir"), ("_args_", ["executed"]), ("_partial_", True), ("_convert_", "all"), ("_call_", CALL)),
    *(("_recursive_", False), ("defaults", [{"/hydra/job_logging@_global_": "x"}]), ("hydra", {"run": {"dir": "/x"}})),
    *(("hydra", {"job_logging": LOGGING}), ("job_logging", LOGGING), ("/data@_global_", "x"), ("../x", 1), ("a.b", 1)),
    *(("x", CALL), ("", 1), ("x\n", 1), (1, 2), ("cache_dir", "/executed"), ("download", True), ("spec", CALL)),
    *(("load_weights", True), ("trust_remote_code", True), ("bpe_path", "/etc/passwd"), ("pretrained", "/etc/passwd")),
)
"""What is added."""
TARGETS = ("scripts/evaluate.py", "scripts/export.py", "scripts/merge.py", "scripts/diagnose.py")
TARGETS += ("scripts/similarity.py", "scripts/changed.py", "train.py", "scripts/collect.py")
LIGHT = ("trainer.limit_test_batches=1", "run=case")
COMMANDS = {
    "scripts/evaluate.py": ("checkpoint=mine", *LIGHT),
    "scripts/export.py": ("checkpoint=mine", "out=export"),
    "scripts/merge.py": ("wise_ft", "checkpoint=mine", "alpha=0.5", "start=bare.pt", *LIGHT),
    "scripts/diagnose.py": ("checkpoint=mine", "run=case"),
    "scripts/similarity.py": ("first=mine", "second=bare.pt", "towers=[image]", *LIGHT),
    "scripts/changed.py": ("checkpoint=mine", "start=bare.pt", "maps=none", *LIGHT),
    "train.py": (*SMALL, "resume=mine"),
    "scripts/collect.py": ("mine",),
}
CHECKPOINT, CONFIG, RESULTS = "checkpoints/last.ckpt", "config.yaml", "results.json"


class Case(NamedTuple):
    """A run's folder with something changed inside, and the command that reads it."""

    base: int
    script: str
    changes: tuple[str, ...]
    content: dict[str, Any]


def make_bases(folder: Path) -> list[Path]:
    """Folders of two real runs: of digits, and of shards."""
    sets = folder / "sets"
    for name, split in (("photo", "train"), ("photo", "test"), ("sketch", "test")):
        write(sets / name, split, 24)
    suite = "+suite.sketch={folder:sketch,split:test,role:ood}"
    sharded = ("data=shards", f"data.root={sets}", "data.train.folder=photo", "suite.test.folder=photo", suite)
    bases = []
    before = Path.cwd()
    for name, overrides in (("digits", ()), ("shards", (*sharded, "data.batch_size=8", "data.num_workers=0"))):
        (folder / name).mkdir()
        os.chdir(folder / name)
        with bounded():
            outcome = attempt(entry("train.py"), [*SMALL, *overrides])
        assert outcome.verdict == "ran", outcome
        bases.append(next((folder / name / "outputs").glob("*/case")))
    os.chdir(before)
    return bases


def draw(count: int, seed: int, bases: list[Path]) -> Iterator[Case]:
    """Cases; equal seeds give equal ones."""
    rng = random.Random(seed)
    contents = [torch.load(base / CHECKPOINT, weights_only=True)["hyper_parameters"] for base in bases]
    for _ in range(count):
        base, script = rng.randrange(len(bases)), rng.choice(TARGETS)
        content = copy.deepcopy(contents[base])
        changes = tuple(_mutate(content, rng) for _ in range(rng.choice((1, 1, 2, 3))))
        yield Case(base, script, changes, content)


def _mutate(content: dict[str, Any], rng: random.Random) -> str:
    """Change one place, more often where a checkpoint's settings are made use of; what was done."""
    group = rng.choice(["backbone", "peft", "data", "suite", *content])
    node: Any = content
    key: Any = group if group in content else rng.choice(list(content))
    path = [key]
    while isinstance(node[key], dict | list) and node[key] and rng.random() < 0.75:
        node = node[key]
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        path.append(key)
    where = ".".join(map(str, path))
    action = rng.choice(("set", "set", "set", "add", "add", "remove", "wrap", "nest"))
    if action == "set":
        node[key] = copy.deepcopy(rng.choice(VALUES))
    elif action == "add":
        name, value = rng.choice(KEYS)
        place = node[key] if isinstance(node[key], dict) else node
        if isinstance(place, dict):
            place[name] = copy.deepcopy(value)
            where = f"{where}+{name!r}"
    elif action == "remove" and isinstance(node, dict):
        del node[key]
    elif action == "wrap":
        node[key] = [node[key]]
    else:
        for _ in range(rng.choice((3, 40))):
            node[key] = {"a": node[key]}
    return f"{action} {where}"


def plant(case: Case, base: Path, folder: Path) -> None:
    """The run's folder as ``mine``, with the case's settings inside its files; beside it the weights as ``bare.pt``."""
    shutil.copytree(base, folder / "mine")
    saved = torch.load(folder / "mine" / CHECKPOINT, weights_only=True)
    student = {n.removeprefix("student.model."): v for n, v in saved["state_dict"].items() if n.startswith("student.m")}
    torch.save(student, folder / "bare.pt")
    saved["hyper_parameters"] = case.content
    torch.save(saved, folder / "mine" / CHECKPOINT)
    try:
        text = yaml.dump(case.content)
    except yaml.YAMLError:
        text = "a: !!python/object/apply:os.mkdir [executed]"
    (folder / "mine" / CONFIG).write_text(text)
    if len(case.changes) > 1:
        results = json.loads((folder / "mine" / RESULTS).read_text())
        results["student"] = json.loads(json.dumps(case.content, default=str, skipkeys=True))
        (folder / "mine" / RESULTS).write_text(json.dumps(results))


def try_case(case: Case, base: Path, folder: Path) -> Outcome:
    """Run the case's command in the folder: refused in one line, or built exactly as the file says; nothing touched."""
    plant(case, base, folder)
    filled: list[Any] = []
    original = checkpoint_module.with_checkpoint

    def noted(cfg: Any, choices: Any) -> Any:
        complete = original(cfg, choices)
        if any(option == "checkpoint" for option in choices.values()):
            filled.append(OmegaConf.to_container(complete, resolve=True))
        return complete

    before = Path.cwd()
    os.chdir(folder)
    checkpoint_module.with_checkpoint = noted  # type: ignore[assignment]
    try:
        with bounded(), watched(folder, base.parents[2] / "sets") as touched:
            outcome = _run(case)
    finally:
        checkpoint_module.with_checkpoint = original
        os.chdir(before)
    if touched:
        return Outcome("touched", "; ".join(touched))
    if outcome.verdict == "vague" and len(outcome.message) < LINE and _mentions(outcome.message, case):
        return Outcome("refused", outcome.message)
    if (folder / "executed").exists():
        return Outcome("executed", "the payload's folder is there")
    if filled and outcome.verdict == "ran":
        wrong = [group for group in ("backbone", "peft", "data", "suite") if not _as_said(group, filled[-1], case)]
        if wrong:
            return Outcome("unfaithful", f"{wrong[0]}: {filled[-1][wrong[0]]}")
    return outcome


def _run(case: Case) -> Outcome:
    if case.script in ENTRIES:
        return attempt(entry(case.script), COMMANDS[case.script], **ENTRIES[case.script])
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
            status = collect(COMMANDS[case.script])
    except Exception as error:
        return Outcome("traceback", "".join(traceback.format_exception(error)[-3:])[-3000:])
    return judged(status, stderr.getvalue(), COMMANDS[case.script])


def _mentions(message: str, case: Case) -> bool:
    """Whether an error line has a word of what was changed."""
    return any(word in message for change in case.changes for word in re.findall(r"\w{3,}", change))


def _as_said(group: str, cfg: dict[str, Any], case: Case) -> bool:
    """Whether a group of the configuration is what the file says, but for what is of this machine or of training."""
    said = case.content.get(group)
    if group not in cfg or said is None:
        return True
    left_out = {*LOCAL.get(group, {}), *OF_TRAINING.get(group, ())}
    strip = lambda node: {key: value for key, value in node.items() if key not in left_out}  # noqa: E731
    return bool(strip(cfg[group]) == strip(said))
