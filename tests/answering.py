"""A tiny model that answers questions, and batches for it."""

import torch

from tracer_lightning.data.questions.conversations import Conversation, ConversationCollate, Turn
from tracer_lightning.data.questions.kinds import words
from tracer_lightning.models import build_llava

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
