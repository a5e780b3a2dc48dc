"""Benchmark of cross-modal fine-tuning: the demo's stage 1, and the distances that it can minimise."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tracer_lightning.alignment import Objective, align, feature_distance, read_source
from tracer_lightning.alignment.distances import METHODS
from tracer_lightning.benchmarks.measuring import in_turn, peak_memory, spread, with_progress
from tracer_lightning.data import DigitsDataModule, SeriesDataModule
from tracer_lightning.functional.distortion import negative_information
from tracer_lightning.models import build_clip
from tracer_lightning.models.heads import zero_shot_linear
from tracer_lightning.models.open_clip.embedders import conv1d

BACKBONE: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 3, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
"""The demo's CLIP, here with random weights."""
STYLES = ("plain", "inverted", "coloured", "paper", "rotated", "small", "thin", "blurred", "noisy")
"""Styles of the digits that the demo's CLIP is pretrained on."""
SAMPLES, SOURCE_SAMPLES, SHOTS, LEARNING_RATE = 128, 2_000, 6, 2e-3
"""The demo's settings of stage 1."""
WIDTH = 64
"""Width of the demo's features."""
MEASURED = ((128, 128, 64), (128, 5_000, 64), (128, 5_000, 768))
"""Numbers of target and of source samples, and width of the features, of the distances whose memory is measured."""
SOURCE, STAGE = "encoding the source", "steps and measurements"


class AlignmentOptions(NamedTuple):
    """Options of the benchmark."""

    samples: int
    """Samples of each side of the smallest distance."""
    doublings: int
    """How often their number is doubled."""
    steps: int
    """Optimizer steps of stage 1."""
    rounds: int


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU seconds that a function takes in this process; unlike the time that passes, they don't include waiting."""
    start = time.process_time()
    work()
    return time.process_time() - start


def random_features(samples: int, width: int, seed: int) -> Tensor:
    """Features (N, D) of norm 1 in random directions."""
    points = torch.randn(samples, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(points, dim=1)


def distance_and_gradient(method: str, samples: int, source_samples: int, width: int) -> float:
    """Compute a distance of random features and its gradient; returns the distance."""
    points = random_features(samples, width, seed=0).requires_grad_()
    torch.manual_seed(0)  # of the directions of sliced distances
    distance = METHODS[method](points, random_features(source_samples, width, seed=1))
    distance.backward()  # type: ignore[no-untyped-call]
    return distance.item()


def measure_distances(options: AlignmentOptions) -> dict[str, Any]:
    """Measure the CPU seconds of each distance with its gradient, and its value, by method and number of samples."""
    results: dict[str, Any] = {}
    for samples in (options.samples * 2**doubling for doubling in range(options.doublings + 1)):
        candidates = {name: partial(distance_and_gradient, name, samples, samples, WIDTH) for name in METHODS}
        turns = in_turn(candidates, options.rounds, cpu_seconds)
        results[str(samples)] = {
            name: {"seconds": spread(turns.seconds[name]), "value": work()} for name, work in candidates.items()
        }
    return results


def distance_memory(samples: int, source_samples: int, width: int) -> float:
    """Bytes that an exact distance and its gradient add to the peak memory of this process."""
    distance_and_gradient("exact", 2, 2, width)  # imports POT
    before = peak_memory(lambda: None)["host"]
    work = partial(distance_and_gradient, "exact", samples, source_samples, width)
    return peak_memory(work)["host"] - before


def distance_memory_in_subprocess(samples: int, source_samples: int, width: int) -> float:
    """:func:`distance_memory` in a new process, which has no memory to spare."""
    command = [sys.executable, "-m", __name__, json.dumps([samples, source_samples, width])]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(process.stdout.splitlines()[-1]))


def stage_seconds(steps: int) -> dict[str, float]:
    """CPU seconds of the demo's stage 1: those of encoding the source, and those of learning and measuring."""
    torch.manual_seed(0)
    backbone = build_clip(**BACKBONE)
    loading: dict[str, Any] = {"batch_size": 27, "eval_batch_size": 512, "num_workers": 0, "seed": 0}
    digits = DigitsDataModule(backbone.spec, STYLES, 1, max_bad_fraction=0.0, **loading)
    texts = {"classnames": None, "templates": ["the voice of speaker {c}."]}
    held_out = {"fraction": 0.1, "seed": 0}
    speech = SeriesDataModule(backbone.spec, None, "JapaneseVowels", texts, held_out, shots=SHOTS, **loading)
    model = backbone.model.eval()
    start = time.process_time()
    source = read_source(model, digits, zero_shot_linear, "body", SOURCE_SAMPLES, 0, torch.device("cpu"))
    encoded = time.process_time()
    conv1d(model, speech.sample_shape)
    objective = Objective(feature_distance, negative_information, 1.0)
    align(model, speech, source, objective, steps, SAMPLES, LEARNING_RATE, 0, clusters=10)
    return {SOURCE: encoded - start, STAGE: time.process_time() - encoded}


def measure_stage(steps: int, rounds: int) -> dict[str, Any]:
    """Measure the CPU seconds of the demo's stage 1."""
    results = [stage_seconds(steps) for _ in with_progress(range(rounds), "stage 1")]
    return {part: spread([each[part] for each in results]) for part in (SOURCE, STAGE)}


def measure(options: AlignmentOptions) -> dict[str, Any]:
    """Measure the CPU seconds of stage 1, and the time and memory of distances."""
    return {
        "options": options._asdict(),
        "stage": measure_stage(options.steps, options.rounds),
        "distances": measure_distances(options),
        "memory": {"{} x {}, width {}".format(*sizes): distance_memory_in_subprocess(*sizes) for sizes in MEASURED},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(distance_memory(*json.loads(sys.argv[1]))) + "\n")
