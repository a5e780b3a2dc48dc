"""Sets of video frames in a suite of shards."""

from __future__ import annotations

from collections.abc import Mapping

from tracer_lightning.data.images.video import VideoSet, read_video_set
from tracer_lightning.data.shards.roots import LocalRoot
from tracer_lightning.data.shards.store import ShardStore, SuiteEntry


def read_videos(store: ShardStore, suite: Mapping[str, SuiteEntry]) -> dict[str, VideoSet]:
    """Read the sets of a suite that consist of video frames, including the classes that their labels cover.

    Raises:
        ValueError: a set is not local, or does not have the published layout.
    """
    videos: dict[str, VideoSet] = {}
    for name, entry in suite.items():
        if not entry.video:
            continue
        root = store.root(entry.location.folder)
        if not isinstance(root, LocalRoot):
            raise ValueError(f"suite.{name}: {root.address} must be a local folder")
        videos[name] = read_video_set(root.folder)
    return videos
