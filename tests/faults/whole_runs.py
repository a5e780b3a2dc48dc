"""Whole runs in this process that something happens to."""

import csv
import json

import torch

from tests.training.helpers import composed
from tracer_lightning.training import run as run_module

PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "DigitsDataModule", "global_step", "total_steps")


def run(tmp_path, *overrides, callback=None, monkeypatch=None):
    """A run in ``tmp_path/run``, with one more callback."""
    tmp_path.mkdir(exist_ok=True)
    if callback is not None:
        build = run_module.build_trainer

        def build_trainer(cfg, **options):
            trainer = build(cfg, **options)
            trainer.callbacks.insert(0, callback)
            return trainer

        with monkeypatch.context() as patch:
            patch.setattr(run_module, "build_trainer", build_trainer)
            return run_module.run(composed(tmp_path, *overrides))
    return run_module.run(composed(tmp_path, *overrides))


def outcome(tmp_path):
    """All that a broken run must have in common with an unbroken one."""
    folder = tmp_path / "run"
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    with (folder / "metrics.csv").open(newline="") as lines:
        rows = sorted(sorted((k, v) for k, v in row.items() if v) for row in csv.DictReader(lines))
    results = json.loads((folder / "results.json").read_text())
    del results["seconds"]
    return {**{part: checkpoint[part] for part in PARTS}, "metrics": rows, "results": results}
