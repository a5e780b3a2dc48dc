"""Writing shards in the format of the clip-benchmark datasets."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tracer_lightning.data.images.names import read_classnames, read_templates
from tracer_lightning.data.shards.manifest import Manifest, verify_shards
from tracer_lightning.data.shards.sources import folder_collection, hold_out_samples, torchvision_collection
from tracer_lightning.data.shards.tables import IWILDCAM_SPLITS, csv_collection, iwildcam_collections
from tracer_lightning.data.shards.tiny_imagenet import tiny_imagenet_collections
from tracer_lightning.data.shards.writer import SampleCollection, write_shards
from tracer_lightning.functional.wording import counted
from tracer_lightning.reporting.command_line import say
from tracer_lightning.reporting.console import PlainConsole, one_line_warnings
from tracer_lightning.storage.shard_layout import ShardLayout

TEMPLATES = ("a photo of a {c}.",)
VALIDATION = "val"
IWILDCAM_TEMPLATES = ("a photo of {c}.", "{c} in the wild.")
"""Templates of FLYP (Goyal et al., 2023)."""
Job = tuple[Path, str, SampleCollection]
"""Root, split and samples of a split to write."""


def splits_of(args: argparse.Namespace, collection: SampleCollection) -> Iterator[Job]:
    """Yield a split, and what is held out of it."""
    if args.held_out is None:
        yield args.out, args.split, collection
        return
    if args.split == VALIDATION:
        raise ValueError(f"--held-out writes the split {VALIDATION}; choose another --split")
    rest, held_out = hold_out_samples(collection, args.held_out)
    yield args.out, args.split, rest
    yield args.out, VALIDATION, held_out


def folder_jobs(args: argparse.Namespace, classnames: Sequence[str] | None) -> Iterator[Job]:
    """Yield the split in a folder."""
    yield from splits_of(args, folder_collection(args.path, classnames, every_class=args.split == "train"))


def torchvision_jobs(args: argparse.Namespace, classnames: Sequence[str] | None) -> Iterator[Job]:
    """Yield a split of a dataset, which keeps its name."""
    yield from splits_of(args, torchvision_collection(args.name, args.path, args.split, classnames))


def csv_jobs(args: argparse.Namespace, classnames: Sequence[str] | None) -> Iterator[Job]:
    """Yield the split in a table."""
    yield from splits_of(args, csv_collection(args.path, classnames, args.skip_empty))


def iwildcam_jobs(args: argparse.Namespace, classnames: Sequence[str] | None) -> Iterator[Job]:
    """Yield every split with its own root, so that each can be a test set of a suite."""
    for name, collection in iwildcam_collections(args.path, classnames, args.labels).items():
        root, split = IWILDCAM_SPLITS[name]
        yield args.out / root, split, collection


def tiny_imagenet_jobs(args: argparse.Namespace, classnames: Sequence[str] | None) -> Iterator[Job]:
    """Yield both splits."""
    for split, collection in tiny_imagenet_collections(args.path, classnames).items():
        yield args.out, split, collection


SOURCES: dict[str, Callable[[argparse.Namespace, Sequence[str] | None], Iterator[Job]]] = {
    "folder": folder_jobs,
    "torchvision": torchvision_jobs,
    "csv": csv_jobs,
    "iwildcam": iwildcam_jobs,
    "tiny_imagenet": tiny_imagenet_jobs,
}
"""Splits to write, by kind of source."""


def write(args: argparse.Namespace, job: Job) -> Manifest:
    """Write and optionally verify a split, with a progress bar."""
    root, split, collection = job
    default = IWILDCAM_TEMPLATES if args.source == "iwildcam" else TEMPLATES
    templates = read_templates(args.templates) if args.templates else default
    layout = ShardLayout(args.seed, args.max_samples, args.max_bytes)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=PlainConsole(stderr=True)) as progress:
        task = progress.add_task(f"{root.name}/{split}", total=len(collection.samples))
        manifest = write_shards(
            collection,
            root,
            split,
            templates,
            layout,
            args.overwrite,
            lambda count: progress.update(task, completed=count),
        )
        if args.verify:
            progress.update(task, description=f"verifying {root.name}/{split}")
            verify_shards(root, split)
    return manifest


def make_shards(args: argparse.Namespace) -> int:
    """Write all splits of a source and print a line for each; returns the exit status."""
    one_line_warnings()
    try:
        classnames = read_classnames(args.classnames) if args.classnames else None
        for job in SOURCES[args.source](args, classnames):
            manifest = write(args, job)
            size = sum(shard["bytes"] for shard in manifest["shards"])
            samples, shards = counted(manifest["samples"], "sample"), counted(len(manifest["shards"]), "shard")
            summary = f"{samples}, {shards}, {size:,} bytes"
            say(f"{job[0] / job[1]}: {summary}{', verified' if args.verify else ''}")
    except KeyboardInterrupt:
        say("interrupted: run the same command again to write the rest", stderr=True)
        return 130
    return 0
