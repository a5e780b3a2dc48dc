"""LoRA of models that answer questions."""

import copy

import pytest
import torch

from tests.answering import batch_of, tiny_llava
from tests.conftest import tiny_backbone
from tracer_lightning.losses import AnswerCrossEntropy
from tracer_lightning.models import load_pretrained
from tracer_lightning.models.answering.lora import add_lora
from tracer_lightning.types import LossInputs

pytest.importorskip("peft")
READS = frozenset({"logits", "targets", "tokens"})


@pytest.fixture(scope="module")
def trained():
    """A model before and after two steps of training its low-rank updates, and a batch."""
    backbone = tiny_llava()
    before, batch = copy.deepcopy(backbone.model), batch_of(backbone)
    add_lora(backbone.model, rank=2, alpha=4)
    torch.testing.assert_close(backbone.model(batch, READS).logits, before(batch, READS).logits)
    optimizer = torch.optim.SGD([p for p in backbone.model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        AnswerCrossEntropy()(LossInputs(backbone.model(batch, READS))).backward()
        optimizer.step()
        optimizer.zero_grad()
    return before, backbone, batch


def test_only_updates_of_the_text_model_are_trained(trained):
    before, backbone, _ = trained
    parameters = dict(backbone.model.named_parameters())
    updates = {name for name, parameter in parameters.items() if parameter.requires_grad}
    assert updates == {name for name in parameters if "lora_" in name}
    assert {backbone.model.part_of(name) for name in updates} == {"text"}
    assert not any("lm_head" in name for name in updates)
    assert len(updates) == 2 * 7  # four projections of the attention and three of the MLP
    for name, value in before.named_parameters():
        layer, _, kind = name.rpartition(".")
        actual = parameters.get(name, parameters.get(f"{layer}.base_layer.{kind}"))
        assert torch.equal(actual, value), name


def test_an_export_is_merged(trained, tmp_path):
    before, backbone, batch = trained
    expected = backbone.model(batch, READS).logits
    assert not torch.allclose(expected, before(batch, READS).logits)
    copied = backbone._replace(model=copy.deepcopy(backbone.model))
    copied.model.export(copied, tmp_path)
    actual = load_pretrained(str(tmp_path)).model
    assert dict(actual.named_parameters()).keys() == dict(before.named_parameters()).keys()
    torch.testing.assert_close(actual(batch, READS).logits, expected, atol=1e-5, rtol=0)


def test_merged_weights_have_the_names_of_the_model_without_updates(trained):
    before, backbone, batch = trained
    merged = copy.deepcopy(backbone.model)
    merged.merge_updates()
    assert merged.state_dict().keys() == before.state_dict().keys()
    expected = backbone.model(batch, READS).logits
    torch.testing.assert_close(merged(batch, READS).logits, expected, atol=1e-5, rtol=0)


def test_wrong_models_and_ranks_are_refused():
    with pytest.raises(ValueError, match="model must answer questions, got a ClipModel"):
        add_lora(tiny_backbone().model, 2, 4)
    with pytest.raises(ValueError, match="rank must be >= 1, got 0"):
        add_lora(tiny_llava().model, 0, 4)
