"""Running command lines as a user would, within this process, and judging how they end."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from tests.commands.helpers import TINY, hydra_context
from tests.fuzzing.overrides import Case, leaves, options, recipe_settings
from tracer_lightning.commands import train
from tracer_lightning.commands.cli import cli, hydra_main
from tracer_lightning.commands.program import COMMANDS
from tracer_lightning.config import build
from tracer_lightning.config.shorthand import expand_merge, expand_similarity

ROOT = Path(__file__).parents[2]
SMALL = (*TINY, "callbacks.progress.refresh_rate=0", "data.eval_batch_size=64", "run=case", "hydra.mode=RUN")
BOUNDS = {"max_steps": 1, "limit_train_batches": 1, "limit_val_batches": 1, "limit_test_batches": 1}
"""What the trainer is held to, whatever the command line says."""
MOST = {
    "trainer.devices": 1,
    "trainer.num_nodes": 1,
    "data.num_workers": 2,
    "data.renderings_per_digit": 10,
    "backbone.vision_cfg.layers": 64,
    "backbone.text_cfg.layers": 64,
}
"""Whole numbers above which a valid setting takes processes or minutes."""
PATIENCE = 240
"""Seconds after which a case counts as hanging."""
LINE = 1000
"""Characters that an error line may have."""


class Outcome(NamedTuple):
    """How a command line ended: ``ran``, ``refused`` with one clear line, ``outside`` of the search, or a fault."""

    verdict: str
    message: str

    @property
    def fault(self) -> bool:
        """Whether it ended as it must not."""
        return self.verdict not in ("ran", "refused", "outside")


class OutsideError(Exception):
    """The settings are right, and what they ask for takes too long here."""


class HangError(BaseException):
    """Time is up."""


def defaults() -> dict[str, Any]:
    """The settings of the default run, and their values."""
    from hydra import compose

    with hydra_context():
        tree: Any = OmegaConf.to_container(compose("train"), resolve=False)
    return dict(leaves(tree, ""))


def command(case: Case) -> list[str]:
    """A tiny run with the case's overrides; what makes a backbone tiny fits the default one only."""
    own = any(given.startswith(("backbone=", "experiment=")) for given in case.overrides)
    return [*(given for given in SMALL if not (own and given.startswith("backbone."))), *case.overrides]


def outside(cfg: DictConfig) -> None:
    """Raise OutsideError for valid settings that ask for processes, compilation or a large model."""
    select = lambda key: OmegaConf.select(cfg, key, throw_on_missing=False)  # noqa: E731
    for key, most in MOST.items():
        value = select(key)
        if isinstance(value, int) and most < value < 10_000:
            raise OutsideError(f"{key}={value} takes processes, or minutes")
    if "ddp" in str(select("trainer.strategy")) or "fsdp" in str(select("trainer.strategy")):
        raise OutsideError("trainer.strategy starts processes")
    if select("compute.compile") is True:
        raise OutsideError("compute.compile takes minutes")
    if str(select("backbone.name")).startswith("ViT-L") and select("backbone.pretrained") is None:
        raise OutsideError("backbone.name is a large model")


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Runs of one step, from here on."""
    build_trainer, validate = build.build_trainer, train.validate

    def build_bounded(cfg: DictConfig, *arguments: Any) -> Any:
        outside(cfg)
        cfg = copy.deepcopy(cfg)
        with open_dict(cfg):
            cfg.trainer.update(BOUNDS)
        return build_trainer(cfg, *arguments)

    def validate_bounded(cfg: DictConfig, command: str) -> None:
        validate(cfg, command)
        outside(cfg)

    train.build_trainer, train.validate = build_bounded, validate_bounded
    try:
        yield
    finally:
        train.build_trainer, train.validate = build_trainer, validate


def entry(script: str) -> Callable[[], Any]:
    """The Hydra main of a script."""
    command = Path(script).stem
    return hydra_main(command, COMMANDS[command].function)


ENTRIES: dict[str, dict[str, Any]] = {
    "train.py": {},
    "scripts/evaluate.py": {"checkpoint": "evaluated"},
    "scripts/export.py": {"checkpoint": "exported"},
    "scripts/predict.py": {"checkpoint": "exported"},
    "scripts/embed.py": {"checkpoint": "exported"},
    "scripts/merge.py": {"checkpoint": "evaluated", "shorthand": expand_merge},
    "scripts/diagnose.py": {"checkpoint": "diagnosed"},
    "scripts/similarity.py": {"checkpoint": "diagnosed", "shorthand": expand_similarity},
    "scripts/changed.py": {"checkpoint": "diagnosed"},
}
"""What each script gives ``cli`` beside its main."""


def _alarm(signum: int, frame: Any) -> None:
    raise HangError


def attempt(main: Callable[[], Any], overrides: Sequence[str], **options: Any) -> Outcome:
    """Run a script's main with these overrides in the current folder."""
    stderr, stdout = io.StringIO(), io.StringIO()
    argv, environment = sys.argv, dict(os.environ)
    sys.argv = ["train.py", *overrides]
    GlobalHydra.instance().clear()
    previous = signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(PATIENCE)
    status: Any = 0
    try:
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(stdout), warnings.catch_warnings():
            cli(main, **options)
    except SystemExit as stop:
        status = stop.code
    except OutsideError as reason:
        return Outcome("outside", str(reason))
    except HangError:
        return Outcome("hang", f"no end after {PATIENCE} s")
    except BaseException as error:
        return Outcome("traceback", "".join(traceback.format_exception(error)[-3:])[-3000:])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        HydraConfig.instance().cfg = None  # Hydra leaves it behind, and with it the mode of a sweep
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environment)
    return judged(status, stderr.getvalue(), [given for given in overrides if given not in SMALL])


def judged(status: Any, stderr: str, overrides: Sequence[str]) -> Outcome:
    """What a user sees in the end: an error line must mention something of what was given, or of what a recipe sets."""
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    if "Traceback (most recent call last)" in stderr:
        return Outcome("traceback", stderr[-3000:])
    if status in (0, None):
        return Outcome("silent" if errors else "ran", "\n".join(errors))
    if status != 1 or len(errors) != 1:
        return Outcome("unclear", f"status {status}: {stderr[-1000:]}")
    if "give it as" in errors[0]:  # a setting that another option needs
        return Outcome("refused", errors[0])
    recipes = [text.removeprefix("recipe=") for text in overrides if text.startswith("recipe=")]
    settings = [text for recipe in recipes if recipe in options("recipe") for text in recipe_settings(recipe)]
    words = {word for text in (*overrides, *settings) for word in re.findall(r"[^\W_]{2,}", text.lower())}
    if "object_type=" in errors[0] or "config of type" in errors[0]:  # a library's words
        return Outcome("vague", errors[0])
    if len(errors[0]) > LINE or not any(word in errors[0].lower() for word in words or {""}):
        return Outcome("vague", errors[0])
    return Outcome("refused", errors[0])
