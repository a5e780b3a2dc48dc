"""ImageNet-Vid-Robust in its published layout: frames of videos, judged together with their neighbours.

``metadata/labels.json`` gives each frame (``val/VIDEO/000010.JPEG``) the classes that count as right,
``metadata/pmsets.json`` each anchor its neighbours, ``misc/imagenet_vid_class_index.json`` each class its wnid, and
``misc/rev_wnid_map.json`` each of these the wnids of the ImageNet classes that it covers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.imagenet import Classes, imagenet_positions
from tracer_lightning.data.shards.tar import MEMBER_BYTES
from tracer_lightning.storage import check_relative, read_text
from tracer_lightning.storage.records import StrictRecord, Text, read_record
from tracer_lightning.types import Neighbours

FILES = {
    "labels": "metadata/labels.json",
    "pmsets": "metadata/pmsets.json",
    "index": "misc/imagenet_vid_class_index.json",
    "members": "misc/rev_wnid_map.json",
}


class Published(StrictRecord):
    """What the four files say."""

    labels: dict[Text, list[int]]
    pmsets: dict[Text, list[Text]]
    index: dict[Text, list[Text]]
    members: dict[Text, list[Text]]


class FrameSource:
    """Frames that are files.

    Args:
        files: one of each frame.
        labels: a class of each; -1 where a frame is no anchor.
    """

    def __init__(self, files: list[Path], labels: list[int]) -> None:
        self.files, self.labels = files, labels

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.files)

    def __getitem__(self, index: int) -> RawSample:
        """The encoded frame and its class."""
        with self.files[index].open("rb") as file:
            return RawSample(file.read(MEMBER_BYTES), self.labels[index], str(self.files[index]))


class VideoSet(NamedTuple):
    """A test set of frames."""

    source: FrameSource
    classes: Classes
    """For each of its labels the ImageNet classes that it covers."""
    neighbours: Neighbours


def read_video_set(folder: Path) -> VideoSet:
    """The anchors of a folder in this layout and their neighbours; ValueError says what is wrong with it."""
    said = read_record(Published, {key: _json(folder / name) for key, name in FILES.items()}, str(folder))
    classes = _classes(folder, said)
    anchors = sorted(said.pmsets)
    frames = sorted({*anchors, *(frame for near in said.pmsets.values() for frame in near)})
    if not anchors:
        raise ValueError(f"{folder / FILES['pmsets']} names no anchor")
    for frame in frames:
        labels = said.labels.get(frame)
        if not labels or not all(0 <= label < len(classes) for label in labels):
            raise ValueError(
                f"{folder / FILES['labels']} must give {frame} some of {len(classes)} classes, from 0; found {labels}"
            )
        if not (folder / check_relative(frame)).is_file():
            raise ValueError(f"{folder / frame} is missing, one of {len(frames):,} frames; fetch the set again")
    position = {frame: number for number, frame in enumerate(frames)}
    groups = tuple(tuple(position[frame] for frame in (anchor, *said.pmsets[anchor])) for anchor in anchors)
    accepted = tuple(tuple(said.labels[frame]) for frame in frames)
    own = [said.labels[frame][0] if frame in said.pmsets else -1 for frame in frames]
    return VideoSet(FrameSource([folder / frame for frame in frames], own), classes, Neighbours(accepted, groups))


def _classes(folder: Path, said: Published) -> Classes:
    """For each class the positions of its ImageNet classes."""
    position, classes = imagenet_positions(), []
    for number in range(len(said.index)):
        wnid = (said.index.get(str(number)) or [""])[0]
        members = said.members.get(wnid)
        if not members or not set(members) <= set(position):
            raise ValueError(
                f"{folder}: class {number} must have a wnid in {FILES['index']}, and that wnids of ImageNet in "
                f"{FILES['members']}; found {wnid!r} and {members}"
            )
        classes.append(tuple(position[member] for member in members))
    return tuple(classes)


def _json(path: Path) -> Any:
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing; give the folder of ImageNet-Vid-Robust as it is published") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON text: {error}") from error
