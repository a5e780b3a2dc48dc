"""Benchmark of training steps, alternating between ours and plain references."""

from __future__ import annotations

import copy
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from tracer_lightning.benchmarks.cost import H100S, step_flops
from tracer_lightning.benchmarks.measuring import in_turn, median_of, ratio, spread
from tracer_lightning.benchmarks.ours import collate, compile_in_place, flyp, now, step_seconds, tracer
from tracer_lightning.benchmarks.reference import NaiveTracer, PlainFlyp, plain_model
from tracer_lightning.benchmarks.sizes import clip_sizes
from tracer_lightning.data import imagenet_classnames, imagenet_templates
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.models import load_clip
from tracer_lightning.module import TracerModule
from tracer_lightning.types import Batch, InputSpec

TRACER, BF16_TEACHER = "our TRACER", "our TRACER, teacher in bf16"
PLAIN_FLYP, FLYP, NAIVE_TRACER = "plain FLYP", "our FLYP", "naive TRACER"
RATIOS = [
    pair for tracer in (TRACER, BF16_TEACHER) for pair in ((tracer, PLAIN_FLYP), (NAIVE_TRACER, tracer), (tracer, FLYP))
] + [(FLYP, PLAIN_FLYP)]


PEAKS = {"H100 80GB HBM3": H100S.peak, "H200": H100S.peak, "A100": 312e12}
"""Peak operations per second of dense bf16 products by a part of the GPU's name."""


class StepOptions(NamedTuple):
    """Options of the benchmark."""

    model: str
    """Name of an open_clip architecture."""
    batch_size: int
    steps: int
    """Number of measured steps per round, after one warm-up step."""
    rounds: int
    accelerator: str
    precision: str
    compile: bool = False
    """Whether our modules are compiled."""


def device_of(accelerator: str) -> torch.device:
    """Device of an accelerator, ``cpu`` or ``gpu``."""
    return torch.device("cuda" if accelerator == "gpu" else "cpu")


def random_batches(spec: InputSpec, size: int, count: int, accelerator: str) -> list[Batch]:
    """Make batches on the device, with noise images and ImageNet captions of 77 tokens."""
    device = device_of(accelerator)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    names, templates = imagenet_classnames(), imagenet_templates()
    batches = []
    for _ in range(count):
        labels = rng.integers(len(names), size=size)
        captions = [templates[rng.integers(len(templates))].replace("{c}", names[label]) for label in labels]
        images = torch.randn(size, 3, spec.image_size, spec.image_size, generator=generator)
        texts, index = spec.tokenize(captions).to(device), torch.arange(size, device=device)
        batches.append(Batch(images.to(device), texts, torch.from_numpy(labels).to(device), index))
    return batches


def _plain_seconds(method: PlainFlyp, batches: Sequence[Batch]) -> list[float]:
    ends = []
    for batch in batches:
        method.step(batch.images, batch.texts)
        ends.append(now())
    method.begin()  # the next candidate needs the memory
    return [end - start for start, end in itertools.pairwise(ends)]


class Candidates(NamedTuple):
    """Training steps to compare."""

    work: dict[str, Callable[[], list[float]]]
    """Functions by name that train one round and return the seconds of its steps."""
    flops: dict[str, int]
    """Floating-point operations of one step by name (:func:`tracer_lightning.benchmarks.cost.step_flops`)."""


def make_candidates(options: StepOptions) -> Candidates:
    """Make the plain references and our modules, all with the same initial weights."""
    torch.manual_seed(0)
    backbone = load_clip(options.model)
    device = device_of(options.accelerator)
    batches = random_batches(backbone.spec, options.batch_size, options.steps + 1, options.accelerator)
    collated = [collate(batch) for batch in batches]
    if options.compile:  # for a single text length, the longest
        longest = max(batch.texts.shape[1] for batch in collated)
        collated = [collate(batch._replace(texts=batch.texts[:, :longest]), trim=False) for batch in batches]
    total = (options.steps + 1) * (options.rounds + 1)
    plain = PlainFlyp(plain_model(backbone).to(device), options.precision)
    naive = NaiveTracer(plain_model(backbone).to(device), options.precision, BetaKernel(0.5), total)
    ours = {FLYP: flyp(copy.deepcopy(backbone.model)), TRACER: tracer(copy.deepcopy(backbone.model))}
    if options.precision == "32-true":
        ours[BF16_TEACHER] = tracer(backbone.model, "bf16")
    for module in ours.values() if options.compile else ():
        compile_in_place(module)

    def lightning(module: TracerModule) -> list[float]:
        return step_seconds(module, collated, options.accelerator, options.precision)

    work: dict[str, Callable[[], list[float]]] = {
        PLAIN_FLYP: lambda: _plain_seconds(plain, batches),
        NAIVE_TRACER: lambda: _plain_seconds(naive, batches),
        **{name: partial(lightning, module) for name, module in ours.items()},
    }
    return Candidates(work, {name: _flops(name, backbone.config, collated[1:], options) for name in work})


def _flops(name: str, config: Mapping[str, Any], batches: Sequence[Batch], options: StepOptions) -> int:
    sizes, is_plain = clip_sizes(config), name in (PLAIN_FLYP, NAIVE_TRACER)
    lengths = [sizes.context] if is_plain else [batch.texts.shape[1] for batch in batches]
    with_teacher = name not in (PLAIN_FLYP, FLYP)
    counts = [
        step_flops(sizes, options.batch_size, 1, tokens, with_teacher, pools_first=not is_plain) for tokens in lengths
    ]
    return round(statistics.mean(counts))


def measure(options: StepOptions) -> dict[str, Any]:
    """Measure the median seconds of a step in each round after a warm-up round, with rates, ratios and peak memory."""
    candidates = make_candidates(options)
    seconds, peaks = in_turn(candidates.work, options.rounds, median_of)
    return {**summary(seconds), **rates(options, seconds, candidates.flops), "peak memory": peaks}


def rates(options: StepOptions, seconds: Mapping[str, Sequence[float]], flops: Mapping[str, int]) -> dict[str, Any]:
    """Images and operations per second by name, and the share of the peak of a known GPU."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    flops_per_second = {name: flops[name] / median for name, median in medians.items()}
    device = torch.cuda.get_device_name() if options.precision == "bf16-mixed" and torch.cuda.is_available() else ""
    peak = next((value for name, value in PEAKS.items() if name in device), None)
    return {
        "images per second": {name: options.batch_size / median for name, median in medians.items()},
        "flops": dict(flops),
        "flops per second": flops_per_second,
        "utilisation": {name: value / peak for name, value in flops_per_second.items()} if peak else None,
    }


def summary(rounds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians of the rounds in seconds, and medians and ranges of the ratios in each round."""
    ratios = {}
    for numerator, denominator in RATIOS:
        if numerator in rounds and denominator in rounds:
            ratios[f"{numerator} / {denominator}"] = ratio(rounds[numerator], rounds[denominator])
    seconds = {name: spread(values) for name, values in rounds.items()}
    return {"seconds": seconds, "ratios": ratios, "rounds": dict(rounds)}
