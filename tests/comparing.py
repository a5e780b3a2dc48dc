"""What two runs must have in common, to the last bit."""

import json

import torch

PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "DigitsDataModule", "global_step", "epoch", "total_steps")


def differences(one, other, path=""):
    """Where two nested values differ."""
    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [path]
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{path}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for i, (a, b) in pairs for found in differences(a, b, f"{path}[{i}]")]
    return [] if one == other else [path]


def outcome(folder):
    """All that a broken run of the digits must have in common with an unbroken one; the seconds differ."""
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    results = json.loads((folder / "results.json").read_text())
    del results["seconds"]
    metrics = (folder / "metrics.csv").read_bytes()
    return {**{part: checkpoint[part] for part in PARTS}, "metrics": metrics, "results": results}
