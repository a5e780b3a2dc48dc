"""What each lever is worth: our TRACER step with it and without it, in turn."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import nn

from tracer_lightning.benchmarks.measuring import Turns, in_turn, median_of, ratio
from tracer_lightning.benchmarks.ours import collated, compile_in_place, step_seconds, tracer
from tracer_lightning.benchmarks.reference import DECAY, LEARNING_RATE
from tracer_lightning.benchmarks.step import random_batches
from tracer_lightning.models import Backbone, configure_compute, load_clip
from tracer_lightning.models.open_clip.fast_attention import ClassTokenBlock, SelfAttention
from tracer_lightning.module import TracerModule
from tracer_lightning.teachers.base import Precision
from tracer_lightning.types import Batch


class Setting(NamedTuple):
    """How a step is computed."""

    streamlined: bool = True
    """Attention and last block of :mod:`tracer_lightning.models.open_clip.fast_attention`."""
    trimmed: bool = True
    """Captions cut to the longest of the batch."""
    once: bool = True
    """Each caption once."""
    captions: int | None = None
    """Different ones in a batch, which then repeat; None for random ones of ImageNet."""
    fused: bool = True
    """AdamW in one pass."""
    teacher: Precision = "same"
    every: int = 1
    """Steps from one update of the teacher to the next."""
    compiled: bool = False
    channels_last: bool = False
    checkpointed: bool = False
    """Activations of blocks are computed again."""
    micro_batch: int | None = None


LEVERS: dict[str, tuple[Setting, Setting]] = {
    "nothing": (Setting(), Setting()),
    "attention as it lies, last block's class token": (Setting(), Setting(streamlined=False)),
    "captions trimmed": (Setting(), Setting(trimmed=False)),
    "repeated captions once (16 different)": (Setting(captions=16), Setting(captions=16, once=False)),
    "AdamW fused": (Setting(), Setting(fused=False)),
    "teacher's pass in bf16": (Setting(teacher="bf16"), Setting()),
    "teacher updated every 10 steps": (Setting(every=10), Setting()),
    "channels last": (Setting(channels_last=True), Setting()),
    "compiled": (Setting(compiled=True), Setting()),
    "blocks checkpointed": (Setting(checkpointed=True), Setting()),
    "micro-batches of a quarter": (Setting(micro_batch=0), Setting()),
}
"""Name to settings with the lever and without it; a micro-batch of 0 stands for a quarter of the batch.

``nothing`` shows how far two equal steps are apart.
"""


class LeverOptions(NamedTuple):
    """What is measured."""

    model: str
    """An open_clip architecture."""
    batch_size: int
    steps: int
    """Counted in each round; one more comes before."""
    rounds: int
    accelerator: str
    precision: str
    levers: Sequence[str]
    """Some of :data:`LEVERS`."""


def as_open_clip_computes(model: nn.Module) -> None:
    """Undo :func:`tracer_lightning.models.open_clip.fast_attention.use_fast_attention`."""
    for module in model.modules():
        if isinstance(module, SelfAttention):
            module.__class__ = nn.MultiheadAttention  # type: ignore[assignment]
        elif isinstance(module, ClassTokenBlock):
            module.__class__ = ResidualAttentionBlock


def _repeated(batch: Batch, captions: int | None) -> Batch:
    return batch if captions is None else batch._replace(texts=batch.texts[torch.arange(len(batch.texts)) % captions])


def _module(backbone: Backbone, setting: Setting, batch_size: int) -> TracerModule:
    model = backbone.model
    micro_batch = setting.micro_batch if setting.micro_batch != 0 else max(1, batch_size // 4)
    configure_compute(model, setting.checkpointed, setting.channels_last, micro_batch)
    if not setting.streamlined:
        as_open_clip_computes(model)
    module = tracer(model, setting.teacher)
    if not setting.fused:
        module.optimizer = partial(torch.optim.AdamW, lr=LEARNING_RATE, weight_decay=DECAY)
    if setting.compiled:
        compile_in_place(module)
    return module


def pair_in_turn(with_it: Setting, without: Setting, options: LeverOptions) -> Turns:
    """Median seconds of a step ``with`` a lever and ``without`` it, in each round that counts."""
    entered = {}
    for name, setting in (("with", with_it), ("without", without)):
        torch.manual_seed(0)
        backbone = load_clip(options.model)
        batches = random_batches(backbone.spec, options.batch_size, options.steps + 1, options.accelerator)
        given = [collated(_repeated(batch, setting.captions), setting.trimmed, setting.once) for batch in batches]
        module = _module(backbone, setting, options.batch_size)
        entered[name] = partial(step_seconds, module, given, options.accelerator, options.precision, setting.every)
    return in_turn(entered, options.rounds, median_of)


def measure(options: LeverOptions) -> dict[str, Any]:
    """Of each lever the median seconds of a step with it and without it, and their ratio round by round."""
    found = {}
    for name in options.levers:
        rounds = pair_in_turn(*LEVERS[name], options).seconds
        medians = {side: statistics.median(values) for side, values in rounds.items()}
        found[name] = {**medians, "ratio": ratio(rounds["with"], rounds["without"]), "rounds": rounds}
    return {"options": options._asdict(), "levers": found}
