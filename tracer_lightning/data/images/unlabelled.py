"""Images without labels, to be classified or embedded."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.data.images.files import SUFFIXES, is_hidden, is_image
from tracer_lightning.data.images.image_source import ImageSource, RawSample
from tracer_lightning.data.images.reading import read_image
from tracer_lightning.data.images.transforms import EvalCrop, EvalDecoder
from tracer_lightning.types import IGNORE_INDEX, ClassTexts, EvalSet, InputSpec


def list_images(images: str) -> list[Path]:
    """List the images in a folder and its subfolders, or those that match a pattern, sorted by their paths.

    Whatever has the name of an image is listed, also a broken link or a pipe, to be counted as unreadable.

    Args:
        images: folder, image file, or pattern such as ``photos/*.jpg``, in which ``**`` matches any folders.

    Raises:
        ValueError: there are none.
    """
    place = Path(images)
    if place.is_dir():
        paths = []
        for folder, subfolders, names in os.walk(place):
            subfolders[:] = [name for name in subfolders if not is_hidden(name)]
            paths += [Path(folder, name) for name in names if is_image(name) and not is_hidden(name)]
    elif place.is_file():
        paths = [place]
    else:
        matches = glob.glob(images, recursive=True)  # noqa: PTH207 (absolute ones, too)
        paths = [Path(path) for path in matches if is_image(path) and not Path(path).is_dir()]
    if not paths:
        suffixes = ", ".join(SUFFIXES)
        raise ValueError(f"{images!r} is no folder of images or shards, and no file or pattern of images ({suffixes})")
    return sorted(paths)


class FileSource:
    """Source of images in files.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    @property
    def labels(self) -> list[int]:
        """No label for any image."""
        return [IGNORE_INDEX] * len(self)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> RawSample:
        """Return the encoded image."""
        return RawSample(read_image(self.paths[index]), IGNORE_INDEX, self.origin(index))

    def origin(self, index: int) -> str:
        """Return the path of an image."""
        return str(self.paths[index])


class UnlabelledDataModule(ClipDataModule):
    """Data module of one set of images without labels, prepared as for evaluation; unreadable images never end a run.

    Args:
        spec: input specification of the model.
        source: the images.
        texts: classes among which the images are to be classified; None where they are not.
        eval_decoder: see :class:`tracer_lightning.data.images.transforms.EvalCrop`.
        batch_size: images per process of a batch.
        loading: ``num_workers`` and ``seed``, as for :class:`tracer_lightning.data.DataModule`.
    """

    trains = False
    eval_sets = (EvalSet("images", "all", "other"),)

    def __init__(
        self,
        spec: InputSpec,
        source: ImageSource,
        texts: ClassTexts | None,
        eval_decoder: EvalDecoder,
        batch_size: int,
        **loading: Any,
    ) -> None:
        super().__init__(spec, 0.0, batch_size=batch_size, eval_batch_size=batch_size, **loading)
        self.classnames, self.templates = texts or ((), ())
        self._images, self._eval_crop = source, EvalCrop(spec, eval_decoder)
        self._failed: set[str] = set()

    def eval_source(self, eval_set: EvalSet) -> ImageSource:
        """All images."""
        return self._images

    def eval_transform(self, eval_set: EvalSet) -> EvalCrop:
        """Crop of the model's own preprocessing."""
        return self._eval_crop

    def count_unreadable(self, locations: Sequence[str], labels: object, dataloader_idx: int) -> None:
        """Take note of the unreadable images of a batch."""
        self._failed.update(locations)

    @property
    def unreadable(self) -> set[str]:
        """Where the images are that this process could not read, and why."""
        return self._failed
