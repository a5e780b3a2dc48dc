"""Models of other layouts go through step, teacher and LoRA: tiny random ones, from configurations."""

import pytest
import torch

from tests.answering import train_with_teacher
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.models.answering.lora import add_lora
from tracer_lightning.models.answering.model import AnsweringModel
from tracer_lightning.teachers import WMATeacher
from tracer_lightning.types import Conversations

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
pytestmark = pytest.mark.slow

IMAGE = 60
"""Token of an image."""
TEXT = {
    **{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128},
}
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SQUARE = {"image_size": 32, "patch_size": 8}


def config(name, **options):
    return type(transformers.AutoConfig.for_model(name))(**options)


def inputs(*image_tokens, **options):
    ids = torch.tensor([[*image_tokens, 5, 6, 7, 8]] * 2)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **options}


def qwen():
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    tower = {
        **{"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32},
        **{"patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 16},
        "fullatt_block_indexes": [1],
    }
    special = {"image_token_id": IMAGE, "video_token_id": 61, "vision_start_token_id": 62, "vision_end_token_id": 63}
    values = inputs(62, *[IMAGE] * 4, 63)
    values |= {
        "pixel_values": torch.randn(32, 3 * 2 * 64),
        "image_grid_thw": torch.tensor([[1, 4, 4]] * 2),
        "mm_token_type_ids": (values["input_ids"] == IMAGE).int(),
    }
    return config("qwen2_5_vl", text_config={**TEXT, "rope_parameters": rope}, vision_config=tower, **special), values


def smolvlm():
    text = {"model_type": "llama", **TEXT, "pad_token_id": 0}
    options = {"scale_factor": 2, "image_token_id": IMAGE, "pad_token_id": 0}
    values = inputs(*[IMAGE] * 4, pixel_values=torch.randn(2, 1, 3, 32, 32))
    return config("smolvlm", vision_config={**TOWER, **SQUARE}, text_config=text, **options), values


def paligemma():
    tower = {"model_type": "siglip_vision_model", **TOWER, **SQUARE, "projection_dim": 32, "vision_use_head": False}
    text = {"model_type": "gemma", **TEXT, "pad_token_id": 0}
    values = inputs(*[IMAGE] * 16, pixel_values=torch.randn(2, 3, 32, 32))
    values["token_type_ids"] = torch.tensor([[0] * 17 + [1] * 3] * 2)
    options = {"image_token_index": IMAGE, "projection_dim": 32}
    return config("paligemma", vision_config=tower, text_config=text, **options), values


def llava_onevision():
    tower = {"model_type": "siglip_vision_model", **TOWER, **SQUARE, "vision_use_head": False}
    text = {"model_type": "qwen2", **TEXT}
    options = {"image_token_index": IMAGE, "video_token_index": 61, "image_grid_pinpoints": [[32, 32]]}
    values = inputs(*[IMAGE] * 36, pixel_values=torch.randn(2, 2, 3, 32, 32), image_sizes=torch.tensor([[32, 32]] * 2))
    return config("llava_onevision", vision_config=tower, text_config=text, **options), values


@pytest.mark.parametrize("family", [qwen, smolvlm, paligemma, llava_onevision])
def test_a_step_with_teacher_and_low_rank_updates(family):
    torch.manual_seed(0)
    architecture, values = family()
    model = AnsweringModel(transformers.AutoModelForImageTextToText.from_config(architecture))
    assert {model.part_of(name) for name, _ in model.named_parameters()} == {"image", "connector", "text"}
    targets = torch.full_like(values["input_ids"], -1)
    targets[:, -3:-1] = values["input_ids"][:, -2:]
    none = torch.full((2,), -1)
    batch = Conversations(values, targets, none, none, none)
    expected = model.model(**values, use_cache=False).logits[targets != -1]
    torch.testing.assert_close(model.answer(batch).logits, expected, atol=1e-5, rtol=1e-4)
    first = model.answer(batch).logits.unflatten(0, (2, 2))[:, 0].argmax(1)
    assert model.eval().generate(batch, max_new_tokens=2)[:, 0].tolist() == first.tolist()
    model.train()
    add_lora(model, rank=4, alpha=8)
    teacher = WMATeacher(model, BetaKernel(0.5), total_steps=3)
    losses = train_with_teacher(model, teacher, batch, (), steps=3)
    assert losses[2] < losses[0]
    pairs = zip(model.named_parameters(), teacher.module.parameters(), strict=True)
    assert all((p is q) == (not p.requires_grad) for (_, p), q in pairs)
