"""Write the images of labelled shards with captions: ``python scripts/make_pairs.py --help``."""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from tracer_lightning.data.images.decoding import decode
from tracer_lightning.data.images.names import read_classnames
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.manifest import CLASSNAMES, NSHARDS
from tracer_lightning.data.shards.source import IndexedSource
from tracer_lightning.data.shards.store import ShardStore, SplitLocation
from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.command_line import Parser, run_command, say
from tracer_lightning.storage import atomic_file, write_text

PALETTE = {
    "black": (20, 20, 20),
    "dark grey": (75, 75, 75),
    "grey": (130, 130, 130),
    "light grey": (190, 190, 190),
    "white": (245, 245, 245),
    "dark brown": (65, 45, 30),
    "brown": (120, 85, 55),
    "beige": (200, 175, 140),
    "red": (190, 40, 40),
    "orange": (225, 130, 50),
    "yellow": (225, 205, 80),
    "dark green": (45, 65, 35),
    "green": (90, 120, 60),
    "light blue": (150, 185, 220),
    "blue": (70, 110, 170),
    "dark blue": (35, 50, 90),
    "purple": (110, 60, 130),
    "pink": (225, 160, 170),
}
"""Colours of backgrounds in photographs and paintings, in 8-bit sRGB."""
BORDER = 8
"""Height of an image divided by that of its upper and lower border."""
EXAMPLES = """examples:
  %(prog)s photo=shards/pacs_photo --out pairs
  %(prog)s photo=shards/pacs_photo 'art painting=shards/pacs_art_painting' --out pairs

A caption has the domain, the class, and the colours of the background: in the upper and the lower eighth of the image,
the colour of a small palette that is nearest to the median pixel. Examples: a photo of a horse, light blue above and
green below; a sketch of a dog on a white background. Every split of the shards becomes a table, as in pairs/train.csv
and pairs/test.csv, with the columns filepath and title, and images in folders beside it."""


def with_article(noun: str) -> str:
    """Put the indefinite article before a noun in lower case."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def nearest_colour(pixels: Tensor) -> str:
    """Name of the colour in the palette that is nearest to the median of pixels (3, H, W) in RGB."""
    median = np.median(pixels.flatten(1).numpy(), axis=1)
    distances = ((np.array(list(PALETTE.values())) - median) ** 2).sum(axis=1)
    return list(PALETTE)[int(distances.argmin())]


def describe(image: Tensor, domain: str, classname: str) -> str:
    """Caption of an image (3, H, W)."""
    height = max(1, image.shape[1] // BORDER)
    above, below = nearest_colour(image[:, :height]), nearest_colour(image[:, -height:])
    subject = f"{with_article(domain)} of {with_article(classname)}"
    if above == below:
        return f"{subject} on {with_article(above)} background"
    return f"{subject}, {above} above and {below} below"


def write_images(shards: Path, split: str, domain: str, out: Path) -> Iterator[tuple[str, str]]:
    """Write the images of a split; yield their paths relative to ``out``, and captions."""
    names = read_classnames(shards / CLASSNAMES)
    location = SplitLocation(".", split=split)
    with tempfile.TemporaryDirectory() as cache:
        files = ShardStore(str(shards), Path(cache)).shards(location)
        source = IndexedSource(files, ClassLabels(len(names), names), Path(cache))
    folder = Path(split, domain)
    (out / folder).mkdir(parents=True, exist_ok=True)
    for number in range(len(source)):
        sample = source[number]
        caption = describe(decode(sample.data), domain, names[sample.label])
        suffix = (Image.open(io.BytesIO(sample.data)).format or "").lower()
        path = folder / f"{number:06d}.{suffix}"
        with atomic_file(out / path) as partial:
            partial.write_bytes(sample.data)
        yield path.as_posix(), caption


def parse_domain(argument: str) -> tuple[str, Path]:
    """Parse ``DOMAIN=SHARDS``; raise ValueError for other arguments, and where there are no shards."""
    domain, _, folder = argument.partition("=")
    if not domain or not folder or "/" in domain:
        raise ValueError(f"{argument} must be DOMAIN=SHARDS, as in photo=shards/pacs_photo")
    if not list(Path(folder).glob(f"*/{NSHARDS}")):
        raise ValueError(f"{folder} has no split of shards, a folder with {NSHARDS}")
    return domain, Path(folder)


def make_pairs(args: argparse.Namespace) -> None:
    """Write images and tables, and print a line for each split."""
    domains = [parse_domain(argument) for argument in args.shards]
    splits = {path.parent.name for _, shards in domains for path in shards.glob(f"*/{NSHARDS}")}
    for split in sorted(splits):
        rows: list[tuple[str, str]] = []
        for domain, shards in domains:
            if (shards / split / NSHARDS).is_file():
                rows += write_images(shards, split, domain, args.out)
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([("filepath", "title"), *rows])
        write_text(args.out / f"{split}.csv", table.getvalue())
        captions = {caption for _, caption in rows}
        say(f"{args.out / split}.csv: {len(rows):,} images, {len(captions):,} different captions")


def build_parser() -> Parser:
    """Build the parser of the command line."""
    parser = Parser(description="Write the images of labelled shards with captions that are made of what they show.")
    parser.epilog = EXAMPLES
    parser.add_argument("shards", nargs="+", metavar="DOMAIN=SHARDS", help="name of a domain, and folder of its shards")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of tables and images")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(make_pairs, build_parser(), arguments)


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
