"""Models of other layouts, tiny random ones with their own processors, are loaded, trained, tuned, and give answers."""

import pytest
import torch
import transformers

from tests import chat_models
from tests.answering import train_with_teacher
from tracer_lightning.data.questions.conversations import Conversation, ConversationCollate, Turn
from tracer_lightning.evaluation import AnswerSuite
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.losses import AnswerCrossEntropy
from tracer_lightning.models import load_pretrained
from tracer_lightning.models.answering.lora import add_lora
from tracer_lightning.teachers import WMATeacher
from tracer_lightning.types import LossInputs, QuestionSet

pytest.importorskip("peft")
pytestmark = pytest.mark.slow

TEXT = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 1024},
}
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SQUARE = {"image_size": 32, "patch_size": 8}
SIGLIP = {"model_type": "siglip_vision_model", **TOWER, **SQUARE, "vision_use_head": False}
ANSWERS = ("dark cat", "red")


def of(tokenizer, name, **text):
    """Settings of a text model for a tokenizer."""
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    return {"model_type": name, **TEXT, "vocab_size": len(tokenizer), **ids, **text}


def llava(tokenizer, token):
    tower = {"model_type": "clip_vision_model", **TOWER, **SQUARE}
    features = {"vision_feature_layer": -1, "image_seq_length": 16}
    return {"vision_config": tower, "text_config": of(tokenizer, "llama"), "image_token_index": token, **features}


def llava_onevision(tokenizer, token):
    grid = [[32, 32], [32, 64], [64, 32], [64, 64]]
    special = {"image_token_index": token, "video_token_index": tokenizer.convert_tokens_to_ids("<video>")}
    features = {"image_grid_pinpoints": grid, "vision_feature_layer": -1}
    return {"vision_config": SIGLIP, "text_config": of(tokenizer, "qwen2"), **special, **features}


def qwen(tokenizer, token):
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    tower = {
        **{"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32},
        **{"patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 16},
        "fullatt_block_indexes": [1],
    }
    names = {"video": "<|video_pad|>", "vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
    special = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(text) for name, text in names.items()}
    text = of(tokenizer, "qwen2_5_vl_text", rope_parameters=rope)
    return {"text_config": text, "vision_config": tower, "image_token_id": token, **special}


def smolvlm(tokenizer, token):
    special = {"image_token_id": token, "pad_token_id": tokenizer.pad_token_id}
    tower = {**TOWER, **SQUARE}
    return {"vision_config": tower, "text_config": of(tokenizer, "llama"), "scale_factor": 2, **special}


def gemma3(tokenizer, token):
    names = {"image_token_index": "<image_soft_token>", "boi_token_index": "<start_of_image>"}
    names["eoi_token_index"] = "<end_of_image>"
    special = {name: tokenizer.convert_tokens_to_ids(text) for name, text in names.items()}
    return {"vision_config": SIGLIP, "text_config": of(tokenizer, "gemma3_text"), "mm_tokens_per_image": 4, **special}


def paligemma(tokenizer, token):
    tower = {**SIGLIP, "projection_dim": 32}
    text = of(tokenizer, "gemma")
    return {"vision_config": tower, "text_config": text, "image_token_index": token, "projection_dim": 32}


NAMES = {"qwen": "qwen2_5_vl"}
FAMILIES = (llava, llava_onevision, qwen, smolvlm, gemma3, paligemma)


def load(family, folder):
    """A model of the family, loaded as from the hub: its own files, with the ends that its defaults name."""
    processor, ends = getattr(chat_models, family.__name__)()
    tokenizer = processor.tokenizer
    token = tokenizer.convert_tokens_to_ids(getattr(tokenizer, "image_token", "<image>"))
    name = NAMES.get(family.__name__, family.__name__)
    config = type(transformers.AutoConfig.for_model(name))(**family(tokenizer, token))
    torch.manual_seed(0)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(ends) if ends else tokenizer.eos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return load_pretrained(str(folder))


def asked(answers):
    """Two conversations of two turns with different images."""
    images = [torch.full((3, 40, 60), value, dtype=torch.uint8) for value in (0, 255)]
    return [
        Conversation(
            image, (Turn("which animal is this?", "cat"), Turn("what colour?", answer)), row, f"row {row}", row
        )
        for row, (image, answer) in enumerate(zip(images, answers, strict=True))
    ]


@pytest.mark.parametrize(
    "family",
    [
        llava,
        gemma3,
        paligemma,
        *(pytest.param(each, marks=pytest.mark.exhaustive) for each in (llava_onevision, qwen, smolvlm)),
    ],
)
def test_a_family_is_trained_and_answers(family, tmp_path):
    backbone = load(family, tmp_path)
    model, collate = backbone.model, ConversationCollate(backbone.spec)
    assert {model.part_of(name) for name, _ in model.named_parameters()} == {"image", "connector", "text"}
    batch = collate(asked(ANSWERS))
    targets = batch.targets != -1
    expected = model.model(**batch.inputs, use_cache=False).logits[targets]
    torch.testing.assert_close(model.answer(batch).logits, expected, atol=1e-5, rtol=1e-4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(200):
        loss = AnswerCrossEntropy()(LossInputs(model(batch, ())))
        if loss < 0.1:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    tokenizer = backbone.spec.processor.tokenizer
    answers = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in model.generate(batch, 12)]
    assert answers == list(ANSWERS)  # and nothing behind them
    wrong = collate(asked(ANSWERS[::-1]))
    for rows, accuracy in ((batch, 1), (wrong, 0)):
        suite = AnswerSuite([QuestionSet("a", "test", "id", "id", "id", answers=2)])
        suite.start({"student": model})
        suite.update(rows, 0)
        assert suite.finish()["student"]["a"]["accuracy"] == accuracy


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_with_teacher_and_low_rank_updates(family, tmp_path):
    backbone = load(family, tmp_path)
    model = backbone.model
    batch = ConversationCollate(backbone.spec)(asked(ANSWERS))
    add_lora(model, rank=4, alpha=8)
    teacher = WMATeacher(model, BetaKernel(0.5), total_steps=3)
    losses = train_with_teacher(model, teacher, batch, (), steps=3)
    assert losses[2] < losses[0]
    pairs = zip(model.named_parameters(), teacher.module.parameters(), strict=True)
    assert all((p is q) == (not p.requires_grad) for (_, p), q in pairs)
