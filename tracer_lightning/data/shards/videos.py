"""Sets of frames of videos among the sets of a suite of shards."""

from __future__ import annotations

from collections.abc import Mapping

from tracer_lightning.data.images.video import VideoSet, read_video_set
from tracer_lightning.data.shards.roots import LocalRoot
from tracer_lightning.data.shards.store import Member, Store


def read_videos(store: Store, members: Mapping[str, Member]) -> dict[str, VideoSet]:
    """Those of the members that are videos, whose own files say which classes their labels cover.

    Raises:
        ValueError: one is not on this machine, or not of the published layout.
    """
    videos: dict[str, VideoSet] = {}
    for name, entry in members.items():
        if not entry.video:
            continue
        root = store.root(entry.place.folder)
        if not isinstance(root, LocalRoot):
            raise ValueError(f"suite.{name}: {root.address} must be a folder of this machine")
        videos[name] = read_video_set(root.folder)
    return videos
