"""Class names and templates of ImageNet, and the ImageNet classes of its distribution shifts."""

from __future__ import annotations

import csv
from importlib.resources import files

import open_clip

from tracer_lightning.storage import split_lines

Classes = tuple[tuple[int, ...], ...]
"""Training classes that each label of a dataset covers."""
RELEASED_NAMES = {
    201: "Silky Terrier",
    227: "Kelpie",
    638: "maillot",
    639: "tank suit",
    692: "product packet",
    744: "projectile",
    837: "dark glasses",
    911: "woolen",
}
RELEASED_ADJECTIVES = ("small", "vague", "distant", "partially visible", "hidden", "faint")


def imagenet_classnames() -> list[str]:
    """Return open_clip's names of the 1,000 classes, in the order of their wnids."""
    return list(open_clip.IMAGENET_CLASSNAMES)


def imagenet_templates() -> list[str]:
    """Return CLIP's 80 templates for ImageNet."""
    return [template("{c}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]


def released_classnames() -> list[str]:
    """Return the class names in the heads of TRACER's released code, eight of which differ from open_clip's.

    The released captions use open_clip's names.
    """
    return [RELEASED_NAMES.get(number, name) for number, name in enumerate(imagenet_classnames())]


def released_templates() -> list[str]:
    """Return the 86 templates of TRACER's released code: CLIP's, and six more."""
    return imagenet_templates() + [f"a photo containing a {adjective} {{c}}." for adjective in RELEASED_ADJECTIVES]


def imagenet_a_classes() -> Classes:
    """Return the 200 classes of ImageNet-A (Hendrycks et al., 2021), whose labels follow their sorted wnids."""
    return _subset("imagenet_a_synsets.txt")


def imagenet_r_classes() -> Classes:
    """Return the 200 classes of ImageNet-R (Hendrycks et al., 2021), whose labels follow their sorted wnids."""
    return _subset("imagenet_r_synsets.txt")


def objectnet_classes() -> Classes:
    """Return the 113 classes of ObjectNet (Barbu et al., 2019) that overlap ImageNet, sorted by folder.

    Nine of them cover several classes of ImageNet.
    """
    text = (files("tracer_lightning.data.images") / "label_spaces" / "objectnet.csv").read_text(encoding="utf-8")
    return tuple(
        tuple(int(index) for index in row["imagenet_indices"].split()) for row in csv.DictReader(text.split("\n"))
    )


def tiny_imagenet_names() -> dict[str, str]:
    """Return names of Tiny-ImageNet's classes by wnid, such as ``tabby|tabby|cat``.

    The first name is the class's own, and occurs twice where there is an everyday word for it among its hypernyms in
    WordNet 3.0. Words for a quarter of all classes ("animal", "vehicle") are left out: they would name most of a batch.
    """
    text = (files("tracer_lightning.data.images") / "label_spaces" / "tiny_imagenet.csv").read_text(encoding="utf-8")
    return {row["wnid"]: row["names"] for row in csv.DictReader(text.split("\n"))}


def imagenet_positions() -> dict[str, int]:
    """Return the class index of each of the 1,000 wnids."""
    return {wnid: index for index, wnid in enumerate(_wnids("imagenet_synsets.txt"))}


def _subset(file: str) -> Classes:
    """Return the classes in one of timm's lists of wnids; names would be ambiguous, since two occur twice."""
    position = imagenet_positions()
    return tuple((position[wnid],) for wnid in sorted(_wnids(file)))


def _wnids(file: str) -> list[str]:
    return split_lines((files("timm.data") / "_info" / file).read_text(encoding="utf-8"))
