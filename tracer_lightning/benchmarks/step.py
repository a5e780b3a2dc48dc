"""Training steps, ours and plain ones in turn."""

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
from tracer_lightning.benchmarks.ours import collated, compile_in_place, flyp, now, step_seconds, tracer
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
"""Operations a second of GPUs by a part of their name: dense products in bf16."""


class StepOptions(NamedTuple):
    """What is measured."""

    model: str
    """An open_clip architecture."""
    batch_size: int
    steps: int
    """Counted in each round; one more comes before."""
    rounds: int
    accelerator: str
    precision: str
    compile: bool = False
    """Whether ours is compiled."""


def device_of(accelerator: str) -> torch.device:
    """Where a benchmark computes."""
    return torch.device("cuda" if accelerator == "gpu" else "cpu")


def random_batches(spec: InputSpec, size: int, count: int, accelerator: str) -> list[Batch]:
    """Noise, and real captions of ImageNet's classes and templates, 77 tokens each, where they are needed."""
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


def _plain(work: PlainFlyp, batches: Sequence[Batch]) -> list[float]:
    ends = []
    for batch in batches:
        work.step(batch.images, batch.texts)
        ends.append(now())
    work.begin()  # what has its turn next needs the memory
    return [end - start for start, end in itertools.pairwise(ends)]


class Entered(NamedTuple):
    """What has its turn in each round."""

    work: dict[str, Callable[[], list[float]]]
    """Name to what trains one round and returns the seconds of its steps."""
    flops: dict[str, int]
    """Floating-point operations of one step (:func:`tracer_lightning.benchmarks.cost.step_flops`)."""


def contestants(options: StepOptions) -> Entered:
    """Plain ones and ours; all begin with the same weights."""
    torch.manual_seed(0)
    backbone = load_clip(options.model)
    device = device_of(options.accelerator)
    batches = random_batches(backbone.spec, options.batch_size, options.steps + 1, options.accelerator)
    given = [collated(batch) for batch in batches]
    if options.compile:  # for one length, that of the longest
        longest = max(batch.texts.shape[1] for batch in given)
        given = [collated(batch._replace(texts=batch.texts[:, :longest]), trimmed=False) for batch in batches]
    total = (options.steps + 1) * (options.rounds + 1)
    plain = PlainFlyp(plain_model(backbone).to(device), options.precision)
    naive = NaiveTracer(plain_model(backbone).to(device), options.precision, BetaKernel(0.5), total)
    ours = {FLYP: flyp(copy.deepcopy(backbone.model)), TRACER: tracer(copy.deepcopy(backbone.model))}
    if options.precision == "32-true":
        ours[BF16_TEACHER] = tracer(backbone.model, "bf16")
    for module in ours.values() if options.compile else ():
        compile_in_place(module)

    def lightning(module: TracerModule) -> list[float]:
        return step_seconds(module, given, options.accelerator, options.precision)

    work: dict[str, Callable[[], list[float]]] = {
        PLAIN_FLYP: lambda: _plain(plain, batches),
        NAIVE_TRACER: lambda: _plain(naive, batches),
        **{name: partial(lightning, module) for name, module in ours.items()},
    }
    return Entered(work, {name: _flops(name, backbone.config, given[1:], options) for name in work})


def _flops(name: str, config: Mapping[str, Any], batches: Sequence[Batch], options: StepOptions) -> int:
    sizes, is_plain = clip_sizes(config), name in (PLAIN_FLYP, NAIVE_TRACER)
    lengths = [sizes.context] if is_plain else [batch.texts.shape[1] for batch in batches]
    with_teacher = name not in (PLAIN_FLYP, FLYP)
    counts = [
        step_flops(sizes, options.batch_size, 1, tokens, with_teacher, pools_first=not is_plain) for tokens in lengths
    ]
    return round(statistics.mean(counts))


def measure(options: StepOptions) -> dict[str, Any]:
    """Median seconds of a step in each round, after a round that is not counted, and what follows from them."""
    entered = contestants(options)
    seconds, peaks = in_turn(entered.work, options.rounds, median_of)
    return {**summary(seconds), **rates(options, seconds, entered.flops), "peak memory": peaks}


def rates(options: StepOptions, seconds: Mapping[str, Sequence[float]], flops: Mapping[str, int]) -> dict[str, Any]:
    """Images and operations a second, and on a GPU that is known the share of its peak, by name."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    reached = {name: flops[name] / median for name, median in medians.items()}
    device = torch.cuda.get_device_name() if options.precision == "bf16-mixed" and torch.cuda.is_available() else ""
    peak = next((value for name, value in PEAKS.items() if name in device), None)
    return {
        "images per second": {name: options.batch_size / median for name, median in medians.items()},
        "flops": dict(flops),
        "flops per second": reached,
        "utilisation": {name: value / peak for name, value in reached.items()} if peak else None,
    }


def summary(found: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians of the rounds in seconds, and ratios round by round with their range."""
    ratios = {}
    for one, other in RATIOS:
        if one not in found or other not in found:
            continue
        ratios[f"{one} / {other}"] = ratio(found[one], found[other])
    seconds = {name: spread(values) for name, values in found.items()}
    return {"seconds": seconds, "ratios": ratios, "rounds": dict(found)}
