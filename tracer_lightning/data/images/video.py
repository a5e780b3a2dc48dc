"""ImageNet-Vid-Robust in its published layout: video frames that are evaluated together with their neighbours.

``metadata/labels.json`` maps each frame (``val/VIDEO/000010.JPEG``) to its correct classes, ``metadata/pmsets.json``
each anchor frame to its neighbours, ``misc/imagenet_vid_class_index.json`` each class to its wnid, and
``misc/rev_wnid_map.json`` each of these wnids to those of the ImageNet classes that it covers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.imagenet import Classes, imagenet_positions
from tracer_lightning.data.images.reading import read_image
from tracer_lightning.storage import check_relative, read_text
from tracer_lightning.storage.records import StrictRecord, Text, read_record
from tracer_lightning.types import Neighbours

FILES = {
    "labels": "metadata/labels.json",
    "pmsets": "metadata/pmsets.json",
    "index": "misc/imagenet_vid_class_index.json",
    "members": "misc/rev_wnid_map.json",
}


class VideoMetadata(StrictRecord):
    """Contents of the four metadata files."""

    labels: dict[Text, list[int]]
    pmsets: dict[Text, list[Text]]
    index: dict[Text, list[Text]]
    members: dict[Text, list[Text]]


class FrameSource:
    """Source of video frames in files.

    Args:
        files: path of each frame.
        labels: class of each frame; -1 for frames that are not anchors.
    """

    def __init__(self, files: list[Path], labels: list[int]) -> None:
        self.files, self.labels = files, labels

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.files)

    def __getitem__(self, index: int) -> RawSample:
        """Return the encoded frame and its class."""
        return RawSample(read_image(self.files[index]), self.labels[index], str(self.files[index]))


class VideoSet(NamedTuple):
    """Test set of video frames."""

    source: FrameSource
    classes: Classes
    """ImageNet classes that each label covers."""
    neighbours: Neighbours


def read_video_set(folder: Path) -> VideoSet:
    """Read the anchor frames in a folder and their neighbours; raise ValueError where the layout is invalid."""
    metadata = read_record(VideoMetadata, {key: _read_json(folder / name) for key, name in FILES.items()}, str(folder))
    classes = _read_classes(folder, metadata)
    anchors = sorted(metadata.pmsets)
    frames = sorted({*anchors, *(frame for neighbours in metadata.pmsets.values() for frame in neighbours)})
    if not anchors:
        raise ValueError(f"{folder / FILES['pmsets']} contains no anchor")
    for frame in frames:
        labels = metadata.labels.get(frame)
        if not labels or not all(0 <= label < len(classes) for label in labels):
            raise ValueError(
                f"{folder / FILES['labels']} must map {frame} to some of {len(classes)} classes, from 0; found {labels}"
            )
        if not (folder / check_relative(frame)).is_file():
            raise ValueError(f"{folder / frame} is missing, one of {len(frames):,} frames; fetch the set again")
    position = {frame: number for number, frame in enumerate(frames)}
    groups = tuple(tuple(position[frame] for frame in (anchor, *metadata.pmsets[anchor])) for anchor in anchors)
    accepted = tuple(tuple(metadata.labels[frame]) for frame in frames)
    anchor_labels = [metadata.labels[frame][0] if frame in metadata.pmsets else -1 for frame in frames]
    source = FrameSource([folder / frame for frame in frames], anchor_labels)
    return VideoSet(source, classes, Neighbours(accepted, groups))


def _read_classes(folder: Path, metadata: VideoMetadata) -> Classes:
    """Return the ImageNet classes that each class covers."""
    position, classes = imagenet_positions(), []
    for number in range(len(metadata.index)):
        wnid = (metadata.index.get(str(number)) or [""])[0]
        members = metadata.members.get(wnid)
        if not members or not set(members) <= set(position):
            raise ValueError(
                f"{folder}: class {number} must have a wnid in {FILES['index']}, which has wnids of ImageNet in "
                f"{FILES['members']}; found {wnid!r} and {members}"
            )
        classes.append(tuple(position[member] for member in members))
    return tuple(classes)


def _read_json(path: Path) -> Any:
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing; give a folder in ImageNet-Vid-Robust's published layout") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
