"""Benchmark of decoding, cropping and loading images against PIL and torchvision."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
import torchvision
from PIL import Image
from torchvision.transforms import v2

from tracer_lightning.benchmarks.images import (
    CROP,
    FLIP,
    jpegs,
    plain_crop,
    plain_transform,
    write_folder,
    write_split,
)
from tracer_lightning.benchmarks.measuring import in_turn, ratio, spread
from tracer_lightning.data import ShardDataModule
from tracer_lightning.data.images.transforms import DecodeAndCrop, EvalCrop, RandomCrop
from tracer_lightning.types import InputSpec

CLASSES = ("temple", "flower")


class LoadingOptions(NamedTuple):
    """Options of the benchmark."""

    images: int
    """Number of images."""
    image_size: int
    batch_size: int
    num_workers: int
    rounds: int


def _input(size: int) -> InputSpec:
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return InputSpec(size, mean, std, open_clip.get_tokenizer("ViT-B-16"), trims_text=True)


def _module(root: Path, spec: InputSpec, options: LoadingOptions) -> ShardDataModule:
    return ShardDataModule(
        spec,
        str(root / "shards"),
        train={"folder": ".", "split": "train"},
        suite={"test": {"folder": ".", "split": "train", "role": "id"}},
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


def _rates(count: int, seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    """Images per second of both in each round, their medians and their ratio."""
    rates = {name: [count / value for value in values] for name, values in seconds.items()}
    medians = {name: spread(values)["median"] for name, values in rates.items()}
    return {**medians, "ratio": ratio(rates["ours"], rates["reference"]), "rounds": rates}


def _our_crops(crop: Callable[..., Any], encoded: Sequence[bytes], rng: np.random.Generator) -> None:
    for data in encoded:
        crop(data, rng)


def _plain_crops(crop: Callable[..., Any], encoded: Sequence[bytes]) -> None:
    for data in encoded:
        crop(Image.open(io.BytesIO(data)).convert("RGB"))


def _crops(encoded: list[bytes], spec: InputSpec, rounds: int) -> dict[str, dict[str, Any]]:
    """Measure decoding and cropping in one thread."""
    rng, rates = np.random.default_rng(0), {}
    ours: dict[str, tuple[Callable[..., Any], bool]] = {
        "training crop, one core": (DecodeAndCrop(RandomCrop(spec.image_size, CROP, FLIP)), True),
        "evaluation crop, one core": (EvalCrop(spec, "torchvision"), False),
    }
    for name, (crop, train) in ours.items():
        candidates = {
            "ours": partial(_our_crops, crop, encoded, rng),
            "reference": partial(_plain_crops, v2.Compose(plain_crop(spec.image_size, train)), encoded),
        }
        rates[name] = _rates(len(encoded), in_turn(candidates, rounds).seconds)
    return rates


def _loaders(root: Path, spec: InputSpec, options: LoadingOptions) -> dict[str, Any]:
    """Measure whole epochs of training batches."""
    module = _module(root, spec, options)
    loader = module.train_dataloader()
    folder = torchvision.datasets.ImageFolder(str(root / "folder"), plain_transform(spec, train=True))
    plain: Any = torch.utils.data.DataLoader(
        folder, options.batch_size, shuffle=True, num_workers=options.num_workers, drop_last=True
    )

    def our_epoch() -> None:
        loader.sampler.set_epoch(loader.sampler.epoch + 1)
        for batch in loader:
            module.on_after_batch_transfer(batch, 0)

    candidates = {"ours": our_epoch, "reference": lambda: list(map(len, plain))}
    return _rates(len(plain) * options.batch_size, in_turn(candidates, options.rounds).seconds)


def measure(options: LoadingOptions) -> dict[str, Any]:
    """Measure images per second of decoding and cropping in one thread, and of whole loaders."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        spec, encoded = _input(options.image_size), jpegs(options.images, len(CLASSES))
        rates = _crops([data for data, _ in encoded[: options.images // 4]], spec, options.rounds)
        with tempfile.TemporaryDirectory() as folder:
            write_split(Path(folder) / "shards", "train", encoded, CLASSES)
            write_folder(Path(folder) / "folder", encoded)
            rates[f"training loader, {options.num_workers} workers"] = _loaders(Path(folder), spec, options)
    finally:
        torch.set_num_threads(threads)
    return {"options": options._asdict(), "images per second": rates}
