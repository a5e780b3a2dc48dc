"""Images in one folder per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.data.images.files import SUFFIXES, images_below, listed, warn_passed_over
from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.splits import Files, hold_out, located, settled
from tracer_lightning.data.images.transforms import Decoded, EvalCrop, EvalDecoder, RandomCrop
from tracer_lightning.data.shards.tar import MEMBER_BYTES
from tracer_lightning.types import EvalSet, InputSpec


def class_folders(folder: Path) -> list[str]:
    """Sorted names of the class folders within; ValueError where there are none."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; data.root must hold one folder per split")
    names = listed(folder).folders
    if not names:
        raise ValueError(f"{folder} holds no class folders; it needs one folder of images per class")
    return names


class FolderSource:
    """The images below ``folder``, labelled by the position of their folder among ``classes``.

    What else lies there is counted and said: files of other kinds, links to nothing, images beside the folders of the
    classes, and those in folders within them.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.files: Files = []
        self._classes = [folder / name for name in classes]
        beside = listed(folder)
        passed_over = Counter({"beside the class folders": len(beside.images)})
        passed_over["links to nothing"] = beside.passed_over["links to nothing"]
        for label, path in enumerate(self._classes):
            within = listed(path)
            self.files += [(path / name, label) for name in within.images]
            passed_over += within.passed_over
            passed_over["in nested folders"] += sum(images_below(path / name) for name in within.folders)
        warn_passed_over(folder, passed_over)
        if not self.files:
            raise ValueError(f"{folder} holds no images ({', '.join(SUFFIXES)}) in its class folders")

    def check_classes(self) -> None:
        """Raise ValueError where a class has no image: a model can't learn it."""
        for label in sorted(set(range(len(self._classes))) - {label for _, label in self.files}):
            raise ValueError(
                f"{self._classes[label]} holds no images ({', '.join(SUFFIXES)}); add some, or remove the class"
            )

    def held_out(self, fraction: float, seed: int) -> tuple[FolderSource, FolderSource]:
        """A source to train on and one held out of it (:func:`tracer_lightning.data.images.splits.hold_out`)."""
        parts = copy(self), copy(self)
        for part, files in zip(parts, hold_out(self.files, fraction, seed), strict=True):
            part.files = files
        return parts

    @property
    def labels(self) -> list[int]:
        """The class of every image."""
        return [label for _, label in self.files]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> RawSample:
        """The encoded image and its class."""
        path, label = self.files[index]
        with path.open("rb") as file:
            return RawSample(file.read(MEMBER_BYTES), label, str(path))  # of a larger one, too little to be decoded


class ImageFolderDataModule(ClipDataModule):
    """A training split, ID splits and any OOD splits, each ``FOLDER/<class>/<image>``.

    OOD splits may hold some of the classes only; they are then told apart among those. Nothing is chosen by images
    that are tested on: where there are no others to validate on, some are held out of training.

    Args:
        spec: what the model expects.
        root: folder of the splits.
        folders: ``train``, ``val`` (watched during training; None: ``val``, or the same as ``test``), ``test`` (the ID
            test split; None: ``test`` or, where there is no such folder, ``val``), and ``ood``: name of each OOD set to
            its folder; relative to ``root`` or absolute.
        held_out: ``fraction`` of each class's training images to validate on, where ``val`` and ``test`` are the same,
            and the ``seed`` that chooses them, whatever that of the run; fraction 0: the test set is watched.
        texts: ``classnames`` in the order of the sorted class folders (None: the folders' names), ``templates``.
        augmentation: ``crop_scale`` and ``flip`` of :class:`tracer_lightning.data.images.transforms.RandomCrop`.
        eval_decoder: as in :class:`tracer_lightning.data.images.transforms.EvalCrop`.
        loading: of :class:`ClipDataModule`: ``batch_size``, ``eval_batch_size``, ``num_workers``, ``seed``,
            ``max_bad_fraction`` and ``shots``.
    """

    def __init__(
        self,
        spec: InputSpec,
        root: str,
        folders: Mapping[str, str | Mapping[str, str] | None],
        held_out: Mapping[str, float],
        texts: Mapping[str, Sequence[str] | None],
        augmentation: Mapping[str, Any],
        eval_decoder: EvalDecoder,
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        base = Path(root)
        self._classes = class_folders(located(base, str(folders["train"])))
        layout = settled(base, folders)
        self._folders = {name: located(base, layout[name]) for name in ("train", "val", "test")}
        self._folders |= {f"ood/{name}": located(base, folder) for name, folder in layout["ood"].items()}
        self._fraction, self._split_seed = held_out["fraction"], int(held_out["seed"])
        if not 0 <= self._fraction < 1:
            raise ValueError(f"data.held_out.fraction must be a number >= 0 and < 1, found {self._fraction}")
        names = texts["classnames"] or [name.replace("_", " ").strip() for name in self._classes]
        if len(names) != len(self._classes):
            folder, count = self._folders["train"], len(self._classes)
            raise ValueError(f"data.texts.classnames has {len(names)} names and {folder} {count} classes")
        self.classnames, self.templates = names, texts["templates"] or ()
        self.train_classnames = texts.get("train_classnames")
        self.train_transform = Decoded(RandomCrop(spec.image_size, **augmentation, interpolation=spec.interpolation))
        self._eval_crop = EvalCrop(spec, eval_decoder)
        name = base.resolve().name
        self.eval_sets = (
            EvalSet(name, "test", "id", self._subset("test")),
            *(EvalSet(other, "test", "ood", self._subset(f"ood/{other}")) for other in layout["ood"]),
        )
        self._shared = layout["val"] == layout["test"]
        watches_test = self._shared and self._fraction == 0
        self.val_set = (
            self.eval_sets[0]
            if watches_test
            else EvalSet(name, "val", "id", None if self._shared else self._subset("val"))
        )

    @cached_property
    def _training(self) -> tuple[FolderSource, FolderSource | None]:
        """The images to train on, some of every class, and those held out of them, where validation needs them."""
        source = FolderSource(self._folders["train"], self._classes)
        source.check_classes()
        if not self._shared or self._fraction == 0:
            return source, None
        kept, held = source.held_out(self._fraction, self._split_seed)
        if not held.files:
            raise ValueError(
                f"{self._folders['train']} has one image of each class, so that none can be held out for validation; "
                "add some, name a folder of others as data.folders.val, or set data.held_out.fraction=0"
            )
        return kept, held

    def about_validation(self) -> str:
        """How many images are held out, of how many; nothing where they have a folder of their own."""
        kept, held = self._training
        if held is None:
            return ""
        total = len(kept) + len(held)
        return (
            f"{len(held):,} of {total:,} images in {self._folders['train']} ({len(held) / total:.1%}) are held out of "
            f"training for validation; the test set is {self._folders['test']}"
        )

    def _subset(self, key: str) -> tuple[tuple[int, ...], ...] | None:
        """Which of the training classes a split has; None for all of them."""
        position = {name: label for label, name in enumerate(self._classes)}
        names = class_folders(self._folders[key])
        missing = sorted(set(position) - set(names))
        if missing and not key.startswith("ood/"):
            raise ValueError(f"{self._folders[key]} lacks the class {missing[0]}; an ID split needs all of training's")
        unknown = [name for name in names if name not in position]
        if unknown:
            raise ValueError(f"{self._folders[key]} holds the class {unknown[0]}, which training does not know")
        return None if len(names) == len(position) else tuple((position[name],) for name in names)

    def train_source(self) -> FolderSource:
        """The training images, some of every class, without those held out."""
        return self._training[0]

    def eval_source(self, eval_set: EvalSet) -> FolderSource:
        """The images of one evaluation set, labelled among its own classes."""
        if eval_set == self.val_set and (held := self._training[1]) is not None:
            return held
        folder = self._folders[eval_set.split if eval_set.role == "id" else f"ood/{eval_set.name}"]
        return FolderSource(folder, class_folders(folder))

    def eval_transform(self, eval_set: EvalSet) -> EvalCrop:
        """The crop of the model's own preprocessing."""
        return self._eval_crop
