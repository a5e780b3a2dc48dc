"""Composing configurations outside a Hydra main, and running scripts in this process."""

import io
import runpy
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from tests.conftest import CONF
from tracer_lightning.commands import cli  # noqa: F401 (the resolvers that every configuration may use)
from tracer_lightning.commands.program import run_plain

TINY = (
    "prerequisite=null",
    "backbone.vision_cfg.layers=1",
    "backbone.vision_cfg.width=32",
    "backbone.text_cfg.layers=1",
    "trainer.max_epochs=2",
    "scheduler.warmup_steps=1",
    "data.batch_size=256",
    "trainer.log_every_n_steps=1",
)
"""A run of eight steps."""
EVERY_ENTRY = {
    **{"name": "x", "run": "x", "paths": {"output_dir": "x"}, "peft": {"prepare": {}}},
    **{
        "seed": 0,
        "rendezvous_timeout": 1,
        "evaluation": {"precision": "fp32"},
        "backbone": {},
        "embedder": {},
        "suite": {},
        "data": {},
        "trainer": {},
    },
}
"""What every entry's configuration has."""


@contextmanager
def hydra_context():
    GlobalHydra.instance().clear()
    with initialize_config_dir(CONF, version_base="1.3"):
        yield


def composed(tmp_path, *overrides, tiny=True):
    """The configuration of a run in ``tmp_path``."""
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    return compose(
        "train",
        [
            f"paths.outputs={tmp_path}",
            f"paths.output_dir={run}",
            "run=test",
            "callbacks.progress.refresh_rate=0",
            *(TINY if tiny else ()),
            *overrides,
        ],
    )


slow = partial(pytest.param, marks=pytest.mark.slow)
"""A set of parameters that is left to the slow tests."""
ROOT = Path(__file__).parents[2]


def script(name, *arguments):
    """Status, stdout and stderr of ``train`` or of a script that is run as its user would, in this process."""
    file = str(ROOT / "train.py" if name == "train" else ROOT / "scripts" / f"{name}.py")
    before, sys.argv = sys.argv, [file, *arguments]
    GlobalHydra.instance().clear()
    out, err, status = io.StringIO(), io.StringIO(), 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            runpy.run_path(file, run_name="__main__")
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = before
    return status, out.getvalue(), err.getvalue()


collect, dynamics, make_shards = (partial(run_plain, command) for command in ("collect", "dynamics", "make_shards"))
"""Commands without a configuration: from arguments to the exit status."""
