"""Images in one folder per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.data.images.files import SUFFIXES, Skipped, images_below, list_folder, warn_skipped
from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.imagenet import imagenet_classnames, imagenet_positions, imagenet_templates
from tracer_lightning.data.images.names import check_order, parse_templates, parse_texts
from tracer_lightning.data.images.reading import read_image
from tracer_lightning.data.images.splits import LabelledFiles, hold_out, resolve_folder, resolve_splits
from tracer_lightning.data.images.transforms import DecodeAndCrop, EvalCrop, EvalDecoder, RandomCrop
from tracer_lightning.functional.wording import counted
from tracer_lightning.types import ClassTexts, EvalSet, InputSpec

IMAGENET = "imagenet"
"""Setting of the folder of ImageNet's images, and name of the test set."""
PURPOSES = {"val": "validation", "test": "testing"}


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the class folders in a folder; raise ValueError where there are none."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; root must contain one folder per split")
    names = list_folder(folder).folders
    if not names:
        raise ValueError(f"{folder} contains no class folders; it must contain one folder of images per class")
    return names


class FolderSource:
    """Source of the images in class folders, labelled by the index of their folder in ``classes``.

    A warning counts and names what is skipped: other files, broken links, images beside the class folders, and images
    in nested folders.

    Args:
        folder: folder of the class folders.
        classes: names of the class folders.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.files: LabelledFiles = []
        self._class_folders = [folder / name for name in classes]
        listing = list_folder(folder)
        skipped: Skipped = {"beside the class folders": listing.images}
        skipped["broken links"] = listing.skipped.get("broken links", [])
        for label, path in enumerate(self._class_folders):
            listing = list_folder(path)
            self.files += [(path / name, label) for name in listing.images]
            nested = [str(image.relative_to(path)) for name in listing.folders for image in images_below(path / name)]
            for reason, names in {**listing.skipped, "in nested folders": nested}.items():
                skipped.setdefault(reason, []).extend(f"{path.name}/{name}" for name in names)
        warn_skipped(folder, skipped)
        if not self.files:
            raise ValueError(f"{folder} contains no images ({', '.join(SUFFIXES)}) in its class folders")

    def check_classes(self) -> None:
        """Raise ValueError where a class has no image, so that it can't be trained."""
        for label in sorted(set(range(len(self._class_folders))) - {label for _, label in self.files}):
            raise ValueError(
                f"{self._class_folders[label]} contains no images ({', '.join(SUFFIXES)}); add images or remove it"
            )

    def hold_out(self, fraction: float, seed: int) -> tuple[FolderSource, FolderSource]:
        """Split into training and held-out images (:func:`tracer_lightning.data.images.splits.hold_out`)."""
        train, held_out = copy(self), copy(self)
        train.files, held_out.files = hold_out(self.files, fraction, seed)
        return train, held_out

    @property
    def labels(self) -> list[int]:
        """Class of every image."""
        return [label for _, label in self.files]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> RawSample:
        """Return the encoded image and its class."""
        path, label = self.files[index]
        return RawSample(read_image(path), label, str(path))


def parse_other_set(key: str, entry: Any, base: Path) -> tuple[Path, ClassTexts]:
    """Parse a set with classes of its own.

    Args:
        key: name of the argument, for messages.
        entry: ``folder``, ``templates``, and perhaps ``classnames``: by default the names of the class folders, with
            blanks in place of underscores.
        base: folder that ``folder`` is relative to.

    Returns:
        The folder, and its texts.

    Raises:
        ValueError: a field is missing or invalid, or there are not as many names as class folders.
    """
    fields = dict(entry) if isinstance(entry, Mapping) else {}
    if not isinstance(fields.get("folder"), str) or not fields.keys() <= {"folder", "classnames", "templates"}:
        raise ValueError(f"{key} must have folder and templates, and may have classnames; got {entry!r}")
    templates = parse_templates(f"{key}.templates", fields.get("templates"))
    if templates is None:
        raise ValueError(
            f"{key}.templates must be a list of templates of this set's own classes, such as 'a photo of a {{c}}.', "
            "got None"
        )
    folder = resolve_folder(base, fields["folder"])
    if not folder.is_dir():
        raise ValueError(f"{key}.folder must be a folder of class folders, and {folder} is none")
    names = class_folders(folder)
    classnames = parse_texts(f"{key}.classnames", fields.get("classnames"))
    if classnames is not None and len(classnames) != len(names):
        raise ValueError(f"{key}.classnames has {len(classnames)} names and {folder} {len(names)} classes")
    check_order(f"{key}.classnames", classnames or names, names, folder)
    return folder, ClassTexts(classnames or tuple(map(readable_name, names)), templates)


def imagenet_texts(folder: Path) -> ClassTexts:
    """Names and templates of ImageNet for a folder of its images: all of its classes, or some.

    Args:
        folder: one folder of images per class, named by its wnid.

    Raises:
        ValueError: the folder is missing, or a class folder is not named by a wnid of ImageNet-1k.
    """
    if not folder.is_dir():
        raise ValueError(
            f"folders.imagenet must be a folder with one folder of images per class, such as n01440764, and {folder} "
            "is none; leave it null to test no forgetting of ImageNet"
        )
    position, names = imagenet_positions(), class_folders(folder)
    unknown = [name for name in names if name not in position]
    if unknown:
        raise ValueError(
            f"folders.imagenet: {folder / unknown[0]} is not named by a class of ImageNet, such as n01440764"
        )
    classnames = imagenet_classnames()
    return ClassTexts(tuple(classnames[position[name]] for name in names), tuple(imagenet_templates()))


def readable_name(folder: str) -> str:
    """Class name that the name of a class folder stands for."""
    return folder.replace("_", " ").strip()


class ImageFolderDataModule(ClipDataModule):
    """Data module of image folders: a training split, ID splits and OOD splits, each ``FOLDER/<class>/<image>``.

    An OOD split may contain a subset of the classes, and is then classified among these. Other splits have classes of
    their own. Test images never influence training: where no other images are available for validation or for testing,
    some training images are held out.

    Args:
        spec: input specification of the model.
        root: folder of the splits.
        folders: folders of the splits, relative to ``root`` or absolute: ``train`` (None for ``train`` or, where there
            is no folder of a split, ``root`` itself); ``val`` (monitored during training; None for ``val`` or, where it
            does not exist, the test split); ``test`` (the ID test split; None for ``test`` or, where it does not exist,
            ``val`` or, where neither does, ``train``); ``ood``, a mapping from name to folder; and perhaps
            ``others``, a mapping from the names of sets with classes of their own to their ``folder``, ``templates``
            and ``classnames`` (None for the names of the class folders), and ``imagenet`` (:func:`imagenet_texts`).
        held_out: ``fraction`` of each class's training images to test on, where ``test`` and ``train`` are the same,
            and of the rest to validate on, where ``val`` and ``test`` are the same, and the ``seed`` of their choice,
            which is independent of the run's; fraction 0 monitors the test set.
        texts: ``classnames`` in the order of the sorted class folders (None for the folders' names) and ``templates``.
        augmentation: ``crop_scale`` and ``flip`` of :class:`tracer_lightning.data.images.transforms.RandomCrop`.
        eval_decoder: see :class:`tracer_lightning.data.images.transforms.EvalCrop`.
        loading: arguments of :class:`ClipDataModule`: ``batch_size``, ``eval_batch_size``, ``num_workers``, ``seed``,
            ``max_bad_fraction``, ``shots`` and ``in_memory``.
    """

    def __init__(
        self,
        spec: InputSpec,
        root: str,
        folders: Mapping[str, str | Mapping[str, str] | Mapping[str, Mapping[str, Any] | None] | None],
        held_out: Mapping[str, float],
        texts: Mapping[str, Sequence[str] | None],
        augmentation: Mapping[str, Any],
        eval_decoder: EvalDecoder,
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        base = Path(root)
        layout = resolve_splits(base, folders)
        self._classes = class_folders(resolve_folder(base, layout["train"]))
        self._folders = {name: resolve_folder(base, layout[name]) for name in ("train", "val", "test")}
        self._fraction, self._split_seed = held_out["fraction"], int(held_out["seed"])
        if not 0 <= self._fraction < 1:
            raise ValueError(f"held_out.fraction must be >= 0 and < 1, got {self._fraction}")
        names = texts["classnames"] or [readable_name(name) for name in self._classes]
        if len(names) != len(self._classes):
            folder, count = self._folders["train"], len(self._classes)
            raise ValueError(f"texts.classnames has {len(names)} names and {folder} {count} classes")
        check_order("texts.classnames", names, self._classes, self._folders["train"])
        self.classnames, self.templates = names, texts["templates"] or ()
        self.train_classnames = texts.get("train_classnames")
        self.train_transform = DecodeAndCrop(
            RandomCrop(spec.image_size, **augmentation, interpolation=spec.interpolation)
        )
        self._eval_crop = EvalCrop(spec, eval_decoder)
        self._held_out = {"test": layout["test"] == layout["train"], "val": layout["val"] == layout["test"]}
        if self.evaluates and self._held_out["test"] and self._fraction == 0:
            raise ValueError(
                f"root={base} contains no folder to test on, and held_out.fraction is 0; add a folder test, or hold "
                "images out"
            )
        if self.evaluates:
            self._set_eval_sets(base, layout)

    def _set_eval_sets(self, base: Path, layout: Mapping[str, Any]) -> None:
        """Set the test sets and the validation set, and check their classes."""
        self._folders |= {f"ood/{name}": resolve_folder(base, folder) for name, folder in layout["ood"].items()}
        other_sets = {
            name: parse_other_set(f"folders.others.{name}", entry, base)
            for name, entry in layout.get("others", {}).items()
        }
        if layout.get(IMAGENET):
            if IMAGENET in other_sets:
                raise ValueError("folders.others.imagenet has the name of the set folders.imagenet; rename it")
            folder = resolve_folder(base, layout[IMAGENET])
            other_sets[IMAGENET] = folder, imagenet_texts(folder)
        self._folders |= {f"other/{name}": folder for name, (folder, _) in other_sets.items()}
        name = base.resolve().name
        self.eval_sets = (
            EvalSet(name, "test", "id", self._subset("test")),
            *(EvalSet(ood_name, "test", "ood", self._subset(f"ood/{ood_name}")) for ood_name in layout["ood"]),
            *(EvalSet(other_name, "test", "other", texts=own) for other_name, (_, own) in other_sets.items()),
        )
        if self._held_out["val"] and self._fraction == 0:
            self.val_set = self.eval_sets[0]
        else:
            self.val_set = EvalSet(name, "val", "id", None if self._held_out["val"] else self._subset("val"))

    @cached_property
    def _parts(self) -> dict[str, FolderSource]:
        """Parts of the training folder: ``train``, with at least one image of every class, and what is held out."""
        train = FolderSource(self._folders["train"], self._classes)
        train.check_classes()
        parts: dict[str, FolderSource] = {}
        for split in ("test", "val"):
            if self._held_out[split] and self._fraction > 0:
                train, parts[split] = train.hold_out(self._fraction, self._split_seed)
                if not parts[split].files:
                    or_none = "" if self._held_out["test"] else ", or held_out.fraction to 0"
                    raise ValueError(
                        f"{self._folders['train']} has no class of {len(parts) + 1} images, so that none can be held "
                        f"out for {PURPOSES[split]}; add images, or set folders.{split} to another folder{or_none}"
                    )
        return {"train": train, **parts}

    def about_validation(self) -> str:
        """Describe how many images are held out; empty where none are."""
        parts = {split: len(source) for split, source in self._parts.items()}
        total, folder = sum(parts.values()), self._folders["train"]
        held_out = [
            (f"{parts[split]:,}", f"{parts[split] / total:.1%}", purpose)
            for split, purpose in PURPOSES.items()
            if split in parts
        ]
        if not held_out:
            return ""
        (count, share, purpose), *others = held_out
        verb = "is" if count == "1" else "are"
        line = f"{count} of {counted(total, 'image')} in {folder} ({share}) {verb} held out of training for {purpose}"
        line += "".join(f", and {count} ({share}) for {purpose}" for count, share, purpose in others)
        return line if "test" in parts else f"{line}; the test set is {self._folders['test']}"

    def _subset(self, key: str) -> tuple[tuple[int, ...], ...] | None:
        """Return the training classes of a split by label; None where it has all of them."""
        position = {name: label for label, name in enumerate(self._classes)}
        names = class_folders(self._folders[key])
        missing = sorted(set(position) - set(names))
        if missing and not key.startswith("ood/"):
            raise ValueError(
                f"{self._folders[key]} lacks the class {missing[0]}; an ID split needs all training classes"
            )
        unknown = [name for name in names if name not in position]
        if unknown:
            raise ValueError(f"{self._folders[key]} has the class {unknown[0]}, which is not a training class")
        return None if len(names) == len(position) else tuple((position[name],) for name in names)

    def train_source(self) -> FolderSource:
        """Training images without those held out, at least one of every class."""
        return self._parts["train"]

    def eval_source(self, eval_set: EvalSet) -> FolderSource:
        """Images of an evaluation set, labelled among its own classes."""
        if eval_set.role == "id" and self._held_out[eval_set.split] and self._fraction > 0:
            return self._parts[eval_set.split]
        folder = self._folders[eval_set.split if eval_set.role == "id" else f"{eval_set.role}/{eval_set.name}"]
        return FolderSource(folder, class_folders(folder))

    def eval_transform(self, eval_set: EvalSet) -> EvalCrop:
        """Crop of the model's own preprocessing."""
        return self._eval_crop
