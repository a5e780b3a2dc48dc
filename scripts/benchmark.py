"""Measure speed, side by side in one run: ``python scripts/benchmark.py --help``."""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
import torchvision
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2

from tracer_lightning.benchmarks.step import StepOptions, measure
from tracer_lightning.benchmarks.step import summary as step_summary
from tracer_lightning.data import ShardDataModule
from tracer_lightning.data.shards.writer import Collection, Item, Layout, write_shards
from tracer_lightning.data.transforms import Decoded, EvalCrop, RandomCrop
from tracer_lightning.training.console import quieten
from tracer_lightning.types import InputSpec

CROP = (0.9, 1.0)
FLIP = 0.5
PICTURE = (500, 375)
"""Width and height of ImageNet's average picture."""
CLASSES = ("temple", "flower")


class Timing(NamedTuple):
    """Images a second of each repetition, ours and the reference's in turn."""

    name: str
    ours: list[float]
    reference: list[float]


def pictures(count: int) -> list[tuple[bytes, int]]:
    """JPEGs of quality 90 and their classes: random pieces of scikit-learn's two photographs, of ImageNet's size."""
    rng, photos = np.random.default_rng(0), [Image.fromarray(photo) for photo in load_sample_images().images]
    encoded = []
    for number in range(count):
        photo = photos[number % 2]
        width = int(rng.integers(PICTURE[0] // 2, photo.width))
        height = min(photo.height, width * PICTURE[1] // PICTURE[0])
        left, top = int(rng.integers(photo.width - width + 1)), int(rng.integers(photo.height - height + 1))
        piece = photo.resize(PICTURE, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        buffer = io.BytesIO()
        piece.save(buffer, "JPEG", quality=90)
        encoded.append((buffer.getvalue(), number % 2))
    return encoded


def write_sets(root: Path, encoded: Sequence[tuple[bytes, int]]) -> None:
    """The same pictures as shards and as a folder for each class."""
    items = [Item(functools.partial(bytes, data), f"{i}", "jpg", label) for i, (data, label) in enumerate(encoded)]
    for split in ("train", "test"):
        write_shards(Collection(items, CLASSES), root / "shards", split, ["a photo of a {c}."], Layout(max_samples=256))
    for number, (data, label) in enumerate(encoded):
        path = root / "folder" / CLASSES[label] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def plain_crop(spec: InputSpec, train: bool) -> list[Callable[..., Any]]:
    """Reference: torchvision's usual crops of PIL pictures."""
    size = spec.image_size
    bicubic = v2.InterpolationMode.BICUBIC
    if train:
        return [v2.RandomResizedCrop(size, CROP, interpolation=bicubic), v2.RandomHorizontalFlip(FLIP), v2.ToImage()]
    return [v2.Resize(size, interpolation=bicubic), v2.CenterCrop(size), v2.ToImage()]


def plain_loader(root: Path, spec: InputSpec, options: argparse.Namespace) -> Iterable[Any]:
    """Reference: torchvision's ImageFolder in a shuffled DataLoader, pictures normalised one by one."""
    finish = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)]
    transform = v2.Compose([*plain_crop(spec, train=True), *finish])
    folder = torchvision.datasets.ImageFolder(str(root / "folder"), transform)
    return torch.utils.data.DataLoader(
        folder, options.batch_size, shuffle=True, num_workers=options.num_workers, drop_last=True
    )


def shard_module(root: Path, spec: InputSpec, options: argparse.Namespace) -> ShardDataModule:
    """The application's data module on the shards."""
    return ShardDataModule(
        spec,
        str(root / "shards"),
        train={"folder": ".", "split": "train"},
        suite={"test": {"folder": ".", "split": "test", "role": "id"}},
        texts={"classnames": None, "templates": None, "train_templates": None},
        augmentation={"crop_scale": CROP, "flip": FLIP},
        eval_decoder="torchvision",
        cache_dir=str(root / "cache"),
        batch_size=options.batch_size,
        eval_batch_size=options.batch_size,
        num_workers=options.num_workers,
        seed=0,
        max_bad_fraction=0.0,
    )


def rate(work: Callable[[], int]) -> float:
    """Images a second."""
    start = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - start)


def in_turn(name: str, ours: Callable[[], int], reference: Callable[[], int], repeats: int) -> Timing:
    """Both, one after the other, after a round that is not counted."""
    timing = Timing(name, [], [])
    for repeat in range(repeats + 1):
        rates = rate(ours), rate(reference)
        if repeat:
            timing.ours.append(rates[0])
            timing.reference.append(rates[1])
    return timing


def data_benchmark(options: argparse.Namespace) -> list[Timing]:
    """Decoding and cropping in one thread, and whole loaders, each against PIL and torchvision."""
    torch.set_num_threads(1)
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    spec = InputSpec(options.image_size, mean, std, open_clip.get_tokenizer("ViT-B-16"), trims_text=True)
    encoded = pictures(options.pictures)
    few = [data for data, _ in encoded[: options.pictures // 4]]
    rng = np.random.default_rng(0)
    timings = []
    for name, ours, train in (
        ("training crop, one core", Decoded(RandomCrop(spec.image_size, CROP, FLIP)), True),
        ("evaluation crop, one core", EvalCrop(spec, "torchvision"), False),
    ):
        theirs = v2.Compose(plain_crop(spec, train))

        def our_crops(transform: Any = ours) -> int:
            return len([transform(data, rng) for data in few])

        def plain_crops(transform: Any = theirs) -> int:
            return len([transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in few])

        timings.append(in_turn(name, our_crops, plain_crops, options.repeats))
    with tempfile.TemporaryDirectory() as folder:
        write_sets(Path(folder), encoded)
        module = shard_module(Path(folder), spec, options)
        loader, plain = module.train_dataloader(), plain_loader(Path(folder), spec, options)

        def our_epoch() -> int:
            loader.sampler.set_epoch(loader.sampler.epoch + 1)
            return sum(len(module.on_after_batch_transfer(batch, 0).images) for batch in loader)

        name = f"training loader, {options.num_workers} workers"
        timings.append(in_turn(name, our_epoch, lambda: sum(len(images) for images, _ in plain), options.repeats))
    return timings


def summary(timing: Timing) -> dict[str, Any]:
    """Medians, and the spread of the ratios pair by pair."""
    ratios = [ours / reference for ours, reference in zip(timing.ours, timing.reference, strict=True)]
    return {
        "name": timing.name,
        "ours": statistics.median(timing.ours),
        "reference": statistics.median(timing.reference),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "repetitions": timing._asdict(),
    }


def report(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title=title, caption="images a second, medians; ratios pair by pair, with their range")
    for column in ("what", "ours", "PIL + torchvision", "ratio"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        low, high = row["ratio_range"]
        ratio = f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"
        table.add_row(row["name"], f"{row['ours']:.0f}", f"{row['reference']:.0f}", ratio)
    Console().print(table)


def step_benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """Training steps, ours and plain ones."""
    keys = ("model", "batch_size", "steps", "rounds", "accelerator", "precision", "compile")
    if min(options.batch_size, options.steps, options.rounds) < 1:
        raise ValueError("--batch-size, --steps and --rounds must be at least 1")
    asked = StepOptions(**{key: getattr(options, key) for key in keys})
    quieten()
    found = step_summary(measure(asked))
    table = Table(title=f"{options.model}, batch {options.batch_size}, {options.precision}, {options.accelerator}")
    table.add_column("a training step")
    table.add_column("seconds", justify="right")
    for name, seconds in found["seconds"].items():
        table.add_row(name, f"{seconds:.3f}")
    ratios = Table(caption="medians; ratios round by round, with their range")
    ratios.add_column("of steps")
    ratios.add_column("ratio", justify="right")
    for name, values in found["ratios"].items():
        low, high = values["range"]
        ratios.add_row(name, f"{values['ratio']:.2f} ({low:.2f} to {high:.2f})")
    Console().print(table, ratios)
    return {"options": asked._asdict(), **found}


def rates_benchmark(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Loading, as images a second."""
    if not 1 <= options.batch_size <= options.pictures or options.repeats < 1 or options.num_workers < 0:
        raise ValueError("--batch-size must lie between 1 and --pictures, --repeats be at least 1")
    rows = [summary(timing) for timing in data_benchmark(options)]
    report(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}", rows)
    return rows


def machine() -> dict[str, Any]:
    """What it was measured on."""
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "python": platform.python_version()}
    return {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine(), **versions}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(description="Measure speed, ours and a plain reference in turn.")
    parts = parser.add_subparsers(title="what to measure", required=True, metavar="WHAT")
    data = parts.add_parser("data", help="loading pictures", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    data.add_argument("--pictures", type=int, default=1024, help="how many, 500 x 375 JPEGs")
    data.add_argument("--image-size", type=int, default=224, help="pixels of a crop")
    data.add_argument("--batch-size", type=int, default=128, help="of the loaders")
    data.add_argument("--num-workers", type=int, default=2, help="of the loaders")
    data.add_argument("--repeats", type=int, default=5, help="rounds that are counted")
    data.add_argument("--json", type=Path, metavar="FILE", help="where to write the numbers")
    data.set_defaults(run=rates_benchmark)
    step = parts.add_parser("step", help="training steps", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    step.add_argument("--model", default="ViT-B-32", help="an open_clip ViT, with random weights")
    step.add_argument("--batch-size", type=int, default=32, help="pictures in a step")
    step.add_argument("--steps", type=int, default=3, help="that are counted in each round; one more comes before")
    step.add_argument("--rounds", type=int, default=5, help="in which all have their turn; one more comes before")
    step.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu", help="where")
    step.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true", help="of training")
    step.add_argument("--compile", action="store_true", help="compile ours")
    step.add_argument("--json", type=Path, metavar="FILE", help="where to write the numbers")
    step.set_defaults(run=step_benchmark)
    options = parser.parse_args(arguments)
    try:
        found = options.run(options)
    except ValueError as error:
        parser.error(str(error))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
