"""Images that were forgotten and learned, embedded in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from tracer_lightning.reporting.changed import KINDS, Pixels, ShownSample, shorten
from tracer_lightning.reporting.report.record import RunRecord

MAX_SIZE = 128
"""Largest height and width in pixels."""
QUALITY = 85
"""Quality of the JPEG encoding."""
PANELS = ("the image", "where the model before training looks", "where the student looks")


class ReportImage(NamedTuple):
    """An image of a changed sample, with its saliency maps if there are any."""

    panels: list[tuple[str, str]]
    """Description and ``data:`` URL of the image and of each map."""
    label: str
    before: str
    after: str


class ImageGroup(NamedTuple):
    """Changed samples of one dataset."""

    name: str
    role: str
    kinds: list[tuple[str, int, list[ReportImage]]]
    """Kind of change, number of such samples, and those shown."""


def data_url(pixels: Pixels) -> str:
    """Encode an image (H, W, 3) as a ``data:`` URL."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((MAX_SIZE, MAX_SIZE))
    image.save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _report_image(sample: ShownSample, names: Sequence[str]) -> ReportImage:
    panels = [(description, data_url(panel)) for description, panel in zip(PANELS, sample.panels, strict=False)]
    return ReportImage(panels, shorten(names[sample.changed.label]), *sample.captions(names))


def image_groups(record: RunRecord, names: Sequence[str], roles: dict[str, str]) -> list[ImageGroup]:
    """Images to show of these datasets; empty if no images were requested or nothing changed."""
    if record.changed is None:
        return []
    groups = []
    for name in names:
        shown, counts = record.changed.shown[name], record.changed.changes[name].counts
        kinds = [
            (title, counts[kind], [_report_image(sample, record.labels[name]) for sample in shown[kind]])
            for kind, title in KINDS.items()
        ]
        if any(samples for _, _, samples in kinds):
            groups.append(ImageGroup(name, roles[name], kinds))
    return groups
