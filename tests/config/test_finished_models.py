import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from tests.conftest import tiny_backbone
from tracer_lightning.config.finished_models import match_heads
from tracer_lightning.models.heads import zero_shot_linear

PROMPTS = torch.randint(1, 400, (10, 2, 6), generator=torch.Generator().manual_seed(0))
INTERPOLATE, REBUILD, STOCK = (
    OmegaConf.create({"merge": merge})
    for merge in ({"head": "interpolate"}, {"head": "rebuild"}, {"name": "model_stock"})
)


def models(*classes):
    """A start and fine-tuned models with heads of so many classes, or none."""
    start, *tuned = (tiny_backbone(seed).model for seed in range(len(classes) + 1))
    for model, number in zip(tuned, classes, strict=True):
        model.head = None if number is None else nn.Linear(16, number)
    return start, {f"model {number}": model for number, model in enumerate(tuned)}


def match(cfg, start, tuned):
    match_heads(cfg, start, tuned, PROMPTS, torch.device("cpu"))


@pytest.mark.parametrize("cfg", [INTERPOLATE, STOCK])
def test_the_start_gets_the_zero_shot_head(cfg):
    start, tuned = models(10)
    start.head = nn.Linear(16, 10)  # that of the weights a run started from
    match(cfg, start, tuned)
    expected = zero_shot_linear(start, PROMPTS)
    assert torch.equal(start.head.weight, expected.weight)
    assert start.head.bias.abs().sum() == 0
    assert tuned["model 0"].head is not None


def test_without_heads_there_is_none():
    start, tuned = models(None)
    start.head = nn.Linear(16, 10)
    match(INTERPOLATE, start, tuned)
    assert start.head is None


def test_rebuilding_takes_heads_away():
    start, tuned = models(10)
    match(REBUILD, start, tuned)
    assert start.head is None
    assert tuned["model 0"].head is None


def test_a_head_of_other_classes_is_refused():
    with pytest.raises(ValueError, match="head of model 1 has 3 classes and the data have 10; choose the data"):
        match(STOCK, *models(10, 3))
