"""Benchmark of each optimisation (lever): alternating TRACER steps with and without it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import nn

from tracer_lightning.benchmarks.measuring import Turns, in_turn, median_of, ratio
from tracer_lightning.benchmarks.ours import collate, compile_in_place, step_seconds, tracer
from tracer_lightning.benchmarks.reference import DECAY, LEARNING_RATE
from tracer_lightning.benchmarks.step import random_batches
from tracer_lightning.models import Backbone, configure_compute, load_clip
from tracer_lightning.models.open_clip.fast_attention import ClassTokenBlock, PatchEmbedding, SelfAttention
from tracer_lightning.module import TracerModule
from tracer_lightning.teachers.averaged import Precision
from tracer_lightning.types import Batch


class StepSetting(NamedTuple):
    """Optimisations with which a step is computed."""

    streamlined: bool = True
    """Whether to use the attention and last block of :mod:`tracer_lightning.models.open_clip.fast_attention`."""
    patches: bool = True
    """Whether patches are embedded by a matrix product instead of a convolution, on a GPU."""
    trimmed: bool = True
    """Whether captions are trimmed to the longest of the batch."""
    deduplicated: bool = True
    """Whether each distinct caption is encoded once."""
    captions: int | None = None
    """Number of distinct captions in a batch, which then repeat; None for random captions of ImageNet."""
    fused: bool = True
    """Whether AdamW is fused."""
    teacher: Precision = "same"
    """Precision of the teacher."""
    every: int = 1
    """Number of steps between updates of the teacher."""
    compiled: bool = False
    channels_last: bool = False
    checkpointed: bool = False
    """Whether activations of blocks are recomputed in the backward pass."""
    micro_batch: int | None = None
    """Size of micro-batches; 0 stands for a quarter of the batch, None for no micro-batches."""


LEVERS: dict[str, tuple[StepSetting, StepSetting]] = {
    "nothing": (StepSetting(), StepSetting()),
    "attention as it lies, last block's class token": (StepSetting(), StepSetting(streamlined=False)),
    "patches by a product": (StepSetting(), StepSetting(patches=False)),
    "captions trimmed": (StepSetting(), StepSetting(trimmed=False)),
    "repeated captions once (16 different)": (StepSetting(captions=16), StepSetting(captions=16, deduplicated=False)),
    "AdamW fused": (StepSetting(), StepSetting(fused=False)),
    "teacher's pass in bf16": (StepSetting(teacher="bf16"), StepSetting()),
    "teacher updated every 10 steps": (StepSetting(every=10), StepSetting()),
    "channels last": (StepSetting(channels_last=True), StepSetting()),
    "compiled": (StepSetting(compiled=True), StepSetting()),
    "blocks checkpointed": (StepSetting(checkpointed=True), StepSetting()),
    "micro-batches of a quarter": (StepSetting(micro_batch=0), StepSetting()),
}
"""Settings with and without each lever, by name; ``nothing`` shows the difference between equal steps."""


class LeverOptions(NamedTuple):
    """Options of the benchmark."""

    model: str
    """Name of an open_clip architecture."""
    batch_size: int
    steps: int
    """Number of measured steps per round, after one warm-up step."""
    rounds: int
    accelerator: str
    precision: str
    levers: Sequence[str]
    """Names of the levers to measure, keys of :data:`LEVERS`."""


def remove_fast_attention(model: nn.Module) -> None:
    """Restore the attention and blocks of torch and open_clip."""
    for module in model.modules():
        if isinstance(module, SelfAttention):
            module.__class__ = nn.MultiheadAttention  # type: ignore[assignment]
        elif isinstance(module, ClassTokenBlock):
            module.__class__ = ResidualAttentionBlock


def embed_by_convolution(model: nn.Module) -> None:
    """Restore the convolution over patches."""
    for module in model.modules():
        if isinstance(module, PatchEmbedding):
            module.__class__ = nn.Conv2d  # type: ignore[assignment]


def _repeat_captions(batch: Batch, captions: int | None) -> Batch:
    return batch if captions is None else batch._replace(texts=batch.texts[torch.arange(len(batch.texts)) % captions])


def _module(backbone: Backbone, setting: StepSetting, batch_size: int) -> TracerModule:
    model = backbone.model
    micro_batch = setting.micro_batch if setting.micro_batch != 0 else max(1, batch_size // 4)
    configure_compute(model, setting.checkpointed, setting.channels_last, micro_batch)
    if not setting.streamlined:
        remove_fast_attention(model)
    if not setting.patches:
        embed_by_convolution(model)
    module = tracer(model, setting.teacher)
    if not setting.fused:
        module.optimizer = partial(torch.optim.AdamW, lr=LEARNING_RATE, weight_decay=DECAY)
    if setting.compiled:
        compile_in_place(module)
    return module


def measure_pair(with_lever: StepSetting, without_lever: StepSetting, options: LeverOptions) -> Turns:
    """Measure the median seconds of a step ``with`` and ``without`` a lever in each round."""
    candidates = {}
    for name, setting in (("with", with_lever), ("without", without_lever)):
        torch.manual_seed(0)
        backbone = load_clip(options.model)
        batches = random_batches(backbone.spec, options.batch_size, options.steps + 1, options.accelerator)
        collated = [
            collate(_repeat_captions(batch, setting.captions), setting.trimmed, setting.deduplicated)
            for batch in batches
        ]
        module = _module(backbone, setting, options.batch_size)
        candidates[name] = partial(
            step_seconds, module, collated, options.accelerator, options.precision, setting.every
        )
    return in_turn(candidates, options.rounds, median_of)


def measure(options: LeverOptions) -> dict[str, Any]:
    """Measure the median seconds of a step with and without each lever, and their ratios in each round."""
    results = {}
    for name in options.levers:
        rounds = measure_pair(*LEVERS[name], options).seconds
        medians = {side: statistics.median(values) for side, values in rounds.items()}
        results[name] = {**medians, "ratio": ratio(rounds["with"], rounds["without"]), "rounds": rounds}
    return {"options": options._asdict(), "levers": results}
