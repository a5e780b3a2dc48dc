"""Images in files or shards, whose labels are not needed."""

from __future__ import annotations

from pathlib import Path

from tracer_lightning.data.images.unlabelled import FileSource, list_images
from tracer_lightning.data.shards.labels import NO_LABEL, ClassLabels
from tracer_lightning.data.shards.manifest import tar_files
from tracer_lightning.data.shards.roots import LocalRoot
from tracer_lightning.data.shards.source import IndexedSource
from tracer_lightning.data.shards.store import Shard


class _NoLabels(ClassLabels):
    """Labels that are not looked up."""

    def number(self, where: object, label: int | str | None, captioned: bool) -> int:
        return NO_LABEL


def _natural(name: str) -> tuple[int, str]:
    """Key by which ``2.tar`` precedes ``10.tar``."""
    return len(name), name


def open_images(images: str, cache_dir: Path) -> FileSource | IndexedSource:
    """Open images, whatever their labels.

    Args:
        images: folder of the shards ``0.tar``, ``1.tar``, ..., or as for
            :func:`tracer_lightning.data.images.unlabelled.list_images`.
        cache_dir: folder for indices of shards.

    Raises:
        ValueError: there are no images.
    """
    place = Path(images)
    if place.is_dir() and (names := [path.name for path in tar_files(place)]):
        root = LocalRoot(place)
        return IndexedSource([Shard(root, name) for name in sorted(names, key=_natural)], _NoLabels(None), cache_dir)
    return FileSource(list_images(images))
