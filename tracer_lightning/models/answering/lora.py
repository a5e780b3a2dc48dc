"""LoRA (Hu et al., 2022) of all linear layers of a text model, by the ``peft`` library.

Adapters are injected into the model, which keeps its class and the names of its modules: parts, checkpoints, teachers
and regularizers work as without them.
"""

from __future__ import annotations

from torch import nn

from tracer_lightning.models.answering.missing import missing_library
from tracer_lightning.models.answering.model import AnsweringModel
from tracer_lightning.models.answering.parts import TEXT

OUTPUT = "lm_head"
"""Name of the output layer."""


def add_lora(model: AnsweringModel, rank: int, alpha: int) -> None:
    """Train low-rank updates of every linear layer of the text model but its output layer, and freeze all else.

    Args:
        model: model to prepare, in place.
        rank: rank of each update.
        alpha: numerator of the factor of the updates, which is ``alpha / rank``.

    Raises:
        ValueError: the model is of another family, ``rank`` is less than 1, or the ``peft`` library is missing.
    """
    if not isinstance(model, AnsweringModel):
        raise ValueError(f"model must answer questions, got a {type(model).__name__}; choose other adapters")
    if rank < 1:
        raise ValueError(f"rank must be >= 1, got {rank}")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise missing_library("peft") from error
    model.requires_grad_(False)
    names = [
        name
        for name, module in model.model.named_modules()
        if isinstance(module, nn.Linear) and model.part_of(name) == TEXT and name.split(".")[-1] != OUTPUT
    ]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=names), model.model)
