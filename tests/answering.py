"""A tiny model that answers questions, and batches for it."""

import torch

from tracer_lightning.data.questions.conversations import Conversation, ConversationCollate, Turn, messages
from tracer_lightning.data.questions.kinds import words
from tracer_lightning.losses import AnswerCrossEntropy, AnswerKL
from tracer_lightning.models import build_llava
from tracer_lightning.types import LossInputs

IMAGE_SIZE = 16


def tiny_llava(seed=0, context_length=64):
    """A LLaVA of one layer for images of 16 x 16 pixels."""
    torch.manual_seed(seed)
    return build_llava(
        vision_cfg={"image_size": IMAGE_SIZE, "patch_size": 8, "width": 16, "layers": 1, "heads": 2},
        text_cfg={"context_length": context_length, "width": 16, "layers": 1, "heads": 2},
        words=words(),
    )


def conversation(*turns, position=0, answer=0, distractor=None, seed=0):
    image = torch.randint(
        256, (3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return Conversation(image, tuple(Turn(*turn) for turn in turns), position, f"row {position}", answer, distractor)


QUESTIONS = (
    ("is the digit even ?", "yes"),
    ("describe the picture .", "red three odd"),
    ("what colour is the digit ?", "blue"),
)


def batch_of(backbone, *conversations):
    rows = conversations or [conversation(turn, position=i, seed=i) for i, turn in enumerate(QUESTIONS)]
    return ConversationCollate(backbone.spec)(rows)


def train_with_teacher(model, teacher, batch, reads, steps):
    """Losses of steps of AdamW on the trained parameters, with a teacher that follows."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        inputs = LossInputs(model(batch, reads), teacher(batch, reads))
        loss = AnswerCrossEntropy()(inputs) + AnswerKL()(inputs)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        teacher.update(model)
        losses.append(loss.item())
    return losses


def overfitted_llava():
    """A model that knows some of its answers."""
    backbone = tiny_llava()
    batch = batch_of(backbone)
    optimizer = torch.optim.AdamW(backbone.model.parameters(), lr=1e-2)
    for _ in range(40):
        AnswerCrossEntropy()(LossInputs(backbone.model(batch, ()))).backward()
        optimizer.step()
        optimizer.zero_grad()
    backbone.model.eval()
    return backbone


def generated(backbone, row):
    """The answer that the model generates greedily to one question without padding."""
    processor = backbone.spec.processor
    prompt = processor.apply_chat_template(messages(row.turns, answered=False), add_generation_prompt=True)
    inputs = dict(processor(images=[[row.image]], text=[prompt], return_tensors="pt"))
    ids = backbone.model.model.generate(**inputs, max_new_tokens=6, do_sample=False)
    return processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
