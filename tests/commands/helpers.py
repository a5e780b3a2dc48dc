"""Composing configurations outside a Hydra main."""

from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from tests.conftest import CONF
from tracer_lightning.commands import cli  # noqa: F401 (the resolvers that every configuration may use)
from tracer_lightning.commands import train as run_module

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


@contextmanager
def with_callback(callback):
    """Runs within have one more callback, before their own."""
    original = run_module.build_trainer

    def build_trainer(cfg, **options):
        trainer = original(cfg, **options)
        trainer.callbacks.insert(0, callback)
        return trainer

    run_module.build_trainer = build_trainer
    try:
        yield
    finally:
        run_module.build_trainer = original


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
