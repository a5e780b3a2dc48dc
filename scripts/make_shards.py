"""Write shards in the format of the clip-benchmark datasets: ``python scripts/make_shards.py --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tracer_lightning.data.images.names import read_classnames, read_templates
from tracer_lightning.data.shards.manifest import Manifest, verify_shards
from tracer_lightning.data.shards.sources import folder_collection, hold_out_samples, torchvision_collection
from tracer_lightning.data.shards.tables import IWILDCAM_SPLITS, csv_collection, iwildcam_collections
from tracer_lightning.data.shards.tiny_imagenet import tiny_imagenet_collections
from tracer_lightning.data.shards.writer import SampleCollection, ShardLayout, write_shards
from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.command_line import Parser, run_command, say
from tracer_lightning.reporting.console import PlainConsole, one_line_warnings

TEMPLATES = ("a photo of a {c}.",)
VALIDATION = "val"
IWILDCAM_TEMPLATES = ("a photo of {c}.", "{c} in the wild.")
"""Templates of FLYP (Goyal et al., 2023)."""
EXAMPLES = """examples:
  %(prog)s folder pets/train --out shards/pets --split train --verify
  %(prog)s torchvision CIFAR10 ~/data --out shards/cifar10 --split test --templates templates.txt
  %(prog)s torchvision CIFAR10 ~/data --out shards/cifar10 --held-out 0.1      # train and val
  %(prog)s csv captions.csv --out shards/pairs
  %(prog)s iwildcam ~/data --out shards

Interrupted? The same command again keeps the shards that are complete and writes the others.
Use the same --out for all splits (train, test) of a dataset."""
Job = tuple[Path, str, SampleCollection]
"""Root, split and samples of a split to write."""


def build_parser() -> Parser:
    """Build the parser, with one subcommand per type of source."""
    layout, shared = ShardLayout(), Parser(add_help=False)
    shared.add_argument("--out", type=Path, required=True, metavar="ROOT", help="folder of the dataset")
    shared.add_argument("--seed", type=int, default=layout.seed, help="seed of the order of samples (%(default)s)")
    shared.add_argument("--max-samples", type=int, default=layout.max_samples, help="samples per shard (%(default)s)")
    shared.add_argument("--max-bytes", type=int, default=layout.max_bytes, help="bytes per shard (%(default)s)")
    shared.add_argument(
        "--classnames", type=Path, metavar="FILE", help="class names, one per line, instead of the source's"
    )
    shared.add_argument(
        "--templates", type=Path, metavar="FILE", help="templates, one per line, with {c} for the class"
    )
    shared.add_argument("--overwrite", action="store_true", help="start over where ROOT contains another split")
    shared.add_argument("--verify", action="store_true", help="read everything again and check it")
    split = Parser(add_help=False)
    split.add_argument("--split", default="train", help="folder within ROOT (%(default)s)")
    split.add_argument(
        "--held-out", type=float, metavar="FRACTION", help="write this fraction of each class as the split val instead"
    )

    parser = Parser(description="Write images as shards.", epilog=EXAMPLES)
    sources = parser.add_subparsers(title="sources", required=True, metavar="SOURCE")
    folder = sources.add_parser("folder", parents=[split, shared], help="one folder of images per class")
    folder.add_argument("path", type=Path, metavar="PATH")
    folder.set_defaults(jobs=folder_jobs)
    vision = sources.add_parser("torchvision", parents=[split, shared], help="a dataset of torchvision, on disk")
    vision.add_argument("name", metavar="NAME", help="class of the dataset, such as CIFAR10")
    vision.add_argument("path", type=Path, metavar="ROOT", help="root of the dataset; nothing is downloaded")
    vision.set_defaults(jobs=torchvision_jobs)
    table = sources.add_parser("csv", parents=[split, shared], help="a table: path, label (name or index), caption")
    table.add_argument("path", type=Path, metavar="FILE", help="table with paths relative to its folder")
    table.add_argument("--skip-empty", action="store_true", help="skip rows without label and caption")
    table.set_defaults(jobs=csv_jobs)
    wild = sources.add_parser("iwildcam", parents=[shared], help="iWildCam of WILDS: train, id_val, id_test, ood_test")
    wild.add_argument("path", type=Path, metavar="ROOT", help="folder that contains iwildcam_v2.0")
    wild.add_argument("--labels", type=Path, metavar="FILE", help="table of classes: y, name, optionally english")
    wild.set_defaults(jobs=iwildcam_jobs)
    tiny = sources.add_parser("tiny_imagenet", parents=[shared], help="Tiny-ImageNet: train, test")
    tiny.add_argument("path", type=Path, metavar="ROOT", help="folder that contains train")
    tiny.set_defaults(jobs=tiny_imagenet_jobs)
    return parser


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


def write(args: argparse.Namespace, job: Job) -> Manifest:
    """Write and optionally verify a split, with a progress bar."""
    root, split, collection = job
    default = IWILDCAM_TEMPLATES if args.jobs is iwildcam_jobs else TEMPLATES
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


def make_shards(args: argparse.Namespace) -> None:
    """Write all splits of a source and print a line for each."""
    classnames = read_classnames(args.classnames) if args.classnames else None
    for job in args.jobs(args, classnames):
        manifest = write(args, job)
        size = sum(shard["bytes"] for shard in manifest["shards"])
        summary = f"{manifest['samples']:,} samples, {len(manifest['shards']):,} shards, {size:,} bytes"
        say(f"{job[0] / job[1]}: {summary}{', verified' if args.verify else ''}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    one_line_warnings()
    try:
        return run_command(make_shards, build_parser(), arguments)
    except KeyboardInterrupt:
        say("interrupted: run the same command again to write the rest", stderr=True)
        return 130


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
