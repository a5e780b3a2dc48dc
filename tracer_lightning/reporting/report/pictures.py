"""Pictures that were forgotten and learned, held in the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from tracer_lightning.reporting.changed import KINDS, Pixels, Shown, short
from tracer_lightning.reporting.report.record import RunRecord

LARGEST = 128
"""Pixels of height and width."""
QUALITY = 85
PANELS = ("the picture", "where the model before training looks", "where the student looks")


class Picture(NamedTuple):
    """One picture, with maps where there are some."""

    panels: list[tuple[str, str]]
    """What it is, and its address ``data:...``."""
    truth: str
    before: str
    after: str


class PictureGroup(NamedTuple):
    """One data set."""

    name: str
    role: str
    kinds: list[tuple[str, int, list[Picture]]]
    """What changed, how many such pictures there are, and those shown."""


def address(pixels: Pixels) -> str:
    """A picture (H, W, 3) as the address of an image."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((LARGEST, LARGEST))
    image.save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _picture(one: Shown, names: Sequence[str]) -> Picture:
    panels = [(what, address(panel)) for what, panel in zip(PANELS, one.panels, strict=False)]
    return Picture(panels, short(names[one.changed.label]), *one.captions(names))


def picture_groups(record: RunRecord, names: Sequence[str], roles: dict[str, str]) -> list[PictureGroup]:
    """What to show of these data sets; nothing where nobody asked, or nothing changed."""
    if record.changed is None:
        return []
    groups = []
    for name in names:
        shown, counts = record.changed.shown[name], record.changed.changes[name].counts
        kinds = [
            (title, counts[kind], [_picture(one, record.labels[name]) for one in shown[kind]])
            for kind, title in KINDS.items()
        ]
        if any(found for _, _, found in kinds):
            groups.append(PictureGroup(name, roles[name], kinds))
    return groups
