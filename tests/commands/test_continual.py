"""Sequences of tasks of CLIP models."""

import json

import pytest
import torch

from tests.commands.helpers import composed, hydra_context
from tracer_lightning.commands.train import train


@pytest.mark.slow
def test_low_rank_updates_are_merged_and_new_ones_are_trained(tmp_path):
    options = ("tasks=[small,noisy]", "peft=lora", "method=flyp", "continual.general=[plain]", "optimizer.lr=0.01")
    with hydra_context():
        content = train(composed(tmp_path, *options))
    first, second = tmp_path / "run/1-small", tmp_path / "run/2-noisy"
    results = [json.loads((folder / "results.json").read_text()) for folder in (first, second)]
    handed_on = torch.load(first / "handed_on.ckpt", weights_only=True)["state_dict"]
    assert not any("parametrizations" in name for name in handed_on)
    assert results[1]["start"] == str(first / "handed_on.ckpt")
    for name in ("small", "noisy", "plain"):
        assert results[1]["zero_shot"][name]["accuracy"] == results[0]["student"][name]["accuracy"]
    assert results[0]["student"] != results[0]["zero_shot"]
    state = torch.load(second / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    trained = {name: value for name, value in state.items() if name.endswith("query_b")}
    assert trained
    assert all(value.any() for value in trained.values())
    weights = [name for name in state if name.endswith("parametrizations.in_proj_weight.original")]
    for name in weights:
        merged = handed_on[name.replace("parametrizations.in_proj_weight.original", "in_proj_weight")]
        assert torch.equal(state[name], merged)
    assert weights
    assert list(content["models"]) == ["student"]
    assert content["models"]["student"]["general"] == results[1]["student"]["plain"]["accuracy"]
