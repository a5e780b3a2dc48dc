"""Comparison of two runs to the last bit."""

import json

import torch

PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "DigitsDataModule", "global_step", "epoch", "total_steps")

TIMES = ("seconds", "phases")
"""Entries of results.json that no two runs have in common."""


def without_times(results):
    """Remove from the content of results.json what no two runs have in common."""
    return {name: value for name, value in results.items() if name not in TIMES}


def differences(first, second, path=""):
    """List the paths of all values in which two nested values differ."""
    if isinstance(first, torch.Tensor):
        same = isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
        return [] if same else [path]
    if isinstance(first, dict) and isinstance(second, dict):
        keys = first.keys() | second.keys()
        return [entry for key in keys for entry in differences(first.get(key), second.get(key), f"{path}.{key}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [entry for i, (a, b) in pairs for entry in differences(a, b, f"{path}[{i}]")]
    return [] if first == second else [path]


def outcome(folder):
    """Load what an interrupted run of the digits must have in common with an uninterrupted one: all but its times."""
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    results = without_times(json.loads((folder / "results.json").read_text()))
    metrics = (folder / "metrics.csv").read_bytes()
    return {**{part: checkpoint[part] for part in PARTS}, "metrics": metrics, "results": results}
