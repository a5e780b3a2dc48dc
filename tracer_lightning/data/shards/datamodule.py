"""Data module of shards in clip-benchmark's format, read by index."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracer_lightning.data.core.progress import progress_bar
from tracer_lightning.data.images.captions import WITHOUT_TEXTS
from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.data.images.image_source import ImageSource
from tracer_lightning.data.images.names import check_classnames, check_order, check_templates
from tracer_lightning.data.images.transforms import DecodeAndCrop, EvalCrop, EvalDecoder, RandomCrop
from tracer_lightning.data.shards.class_groups import resolve_groups, suggest_groups
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.manifest import CLASSNAMES, TEMPLATES, TRAIN_CLASSNAMES
from tracer_lightning.data.shards.own_texts import own_labels, read_lines, read_own_texts
from tracer_lightning.data.shards.roots import LocalRoot
from tracer_lightning.data.shards.samples import describe_left_out
from tracer_lightning.data.shards.source import IndexedSource
from tracer_lightning.data.shards.store import (
    OTHER,
    Shard,
    ShardStore,
    SplitLocation,
    SuiteEntry,
    check_samples,
    parse_location,
    parse_suite_entry,
)
from tracer_lightning.data.shards.videos import read_videos
from tracer_lightning.functional.wording import counted
from tracer_lightning.types import EvalSet, InputSpec

TRAIN = "train"
"""Argument that locates the training set."""


class ShardDataModule(ClipDataModule):
    """A training split and a suite of test splits, each ``ROOT/FOLDER/<split>/<i>.tar``.

    Every epoch is an exact permutation of the samples, which are read at the offsets in an index of the tar headers.
    Remote shards are downloaded first.

    Args:
        spec: input specification of the model.
        root: parent of all folders: a folder, an ``http(s)://`` address or ``hf://datasets/OWNER``.
        train: fields of :class:`tracer_lightning.data.shards.store.SplitLocation`; a pattern (``pacs_*``) trains on
            several folders together, whose names fill the domain ``{d}`` of templates.
        suite: test sets by name, with the fields of :class:`tracer_lightning.data.shards.store.SuiteEntry` and of its
            location. A folder with ``*`` stands for all matching folders that no other entry names; each set is named
            by the part that the star matches.
        texts: ``classnames``, ``templates`` (None for those in the training set's folder or, where it contains pairs of
            images and captions, in the folder of the suite's first set), ``train_classnames`` (None for
            ``train_classnames.txt`` in the training set's folder, where there is one, or else the same) and
            ``train_templates`` (None for the same).
        augmentation: ``crop_scale`` and ``flip`` of :class:`tracer_lightning.data.images.transforms.RandomCrop`.
        eval_decoder: see :class:`tracer_lightning.data.images.transforms.EvalCrop`.
        cache_dir: local folder for downloads and indices.
        loading: arguments of :class:`ClipDataModule`: ``batch_size``, ``eval_batch_size``, ``num_workers``, ``seed``,
            ``max_bad_fraction``, ``shots`` and ``in_memory``.
    """

    def __init__(
        self,
        spec: InputSpec,
        root: str,
        train: Mapping[str, Any],
        suite: Mapping[str, Mapping[str, Any] | None],
        texts: Mapping[str, Sequence[str] | None],
        augmentation: Mapping[str, Any],
        eval_decoder: EvalDecoder,
        cache_dir: str,
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        self.cache_dir = Path(cache_dir).expanduser()
        self.store = ShardStore(root, self.cache_dir)
        self.train_locations = self._expand(parse_location("train", train))
        self.domains = [name.replace("_", " ") for name in self.train_locations if name]
        self.suite_entries = self._parse_suite(suite) if self.evaluates else {}
        self._videos = read_videos(self.store, self.suite_entries)
        for name, video in self._videos.items():
            self.suite_entries[name] = self.suite_entries[name]._replace(classes=video.classes)
        self._own_texts = {
            name: read_own_texts(self.store, f"suite.{name}", entry)
            for name, entry in self.suite_entries.items()
            if entry.role == OTHER
        }
        self._set_texts(texts)
        crop = RandomCrop(spec.image_size, **augmentation, interpolation=spec.interpolation)
        self.train_transform = DecodeAndCrop(crop)
        self._eval_crops = {
            name: EvalCrop(spec, eval_decoder, entry.border) for name, entry in self.suite_entries.items()
        }
        sets = {
            name: EvalSet(
                name,
                str(entry.location.split or "test"),
                entry.role.replace("val", "id"),
                self._classes.get(name),
                entry.location.samples,
                self._videos[name].neighbours if entry.video else None,
                texts=self._own_texts.get(name),
            )
            for name, entry in self.suite_entries.items()
        }
        if not self.evaluates:
            return
        self.eval_sets = tuple(sets[name] for name, entry in self.suite_entries.items() if entry.role != "val")
        candidates = [
            name for role in ("val", "id") for name, entry in self.suite_entries.items() if entry.role == role
        ]
        self.val_set = sets[candidates[0] if candidates else self._first_set]

    # -- arguments -------------------------------------------------------------------------------

    def _expand(self, location: SplitLocation) -> dict[str, SplitLocation]:
        """Expand a folder pattern to the locations of all matching folders, by the part that the star matches."""
        if "*" not in location.folder:
            return {"": location}
        matches = self.store.matches(location.folder)
        return {name: location._replace(folder=folder) for name, folder in matches.items()}

    def _parse_suite(self, suite: Mapping[str, Mapping[str, Any] | None]) -> dict[str, SuiteEntry]:
        entries = {name: parse_suite_entry(name, fields) for name, fields in suite.items() if fields is not None}
        explicit_folders = {entry.location.folder for entry in entries.values()}
        sets: dict[str, SuiteEntry] = {}
        for name, entry in entries.items():
            for matched_part, location in self._expand(entry.location).items():
                if matched_part and location.folder in explicit_folders:
                    continue
                set_name = matched_part or name
                if set_name in sets:
                    raise ValueError(f"suite has two sets called {set_name}; rename one of them")
                sets[set_name] = entry._replace(location=location)
        test_sets = {self._identity(entry.location): name for name, entry in sets.items() if entry.role != "val"}
        if not any(entry.role in ("id", "ood") for entry in sets.values()):
            raise ValueError("suite contains no test set; add one with role id or ood")
        for name, entry in sets.items():
            if entry.role == "val" and (test_set := test_sets.get(self._identity(entry.location))):
                raise ValueError(
                    f"suite.{name} and suite.{test_set} are the same images; a set with role val must not be a test set"
                )
        return sets

    def _identity(self, location: SplitLocation) -> tuple[str, str | None, str | None]:
        """Return a key that is equal for locations of the same samples."""
        root = self.store.root(location.folder)
        folder = str(root.folder.resolve()) if isinstance(root, LocalRoot) else root.address
        return folder, location.split, location.shards

    def _set_texts(self, texts: Mapping[str, Sequence[str] | None]) -> None:
        """Set class names and templates from the arguments or the sets' own files, and check all sets against them."""
        folders = [location.folder for location in self.train_locations.values()]
        own_names = [] if texts["classnames"] else self._read_lines(folders[0], CLASSNAMES)
        self.num_classes = len(texts["classnames"] or own_names) or None  # None: pairs of images and captions
        self._names_source = " in texts.classnames" if texts["classnames"] else ""
        self.labelled = self.num_classes is not None
        text_folder = folders[0]
        if self.num_classes is None:
            if not self.evaluates:
                self.classnames, self.templates = WITHOUT_TEXTS
                return
            text_folder = self.suite_entries[self._first_set].location.folder
        self.classnames = texts["classnames"] or self._read_lines(text_folder, CLASSNAMES)
        self.templates = texts["templates"] or self._read_lines(text_folder, TEMPLATES)
        self.train_templates = texts["train_templates"] or ()
        self.train_classnames = texts.get("train_classnames") or (
            self._read_file(folders[0], TRAIN_CLASSNAMES) if own_names else None
        )
        address = self.store.root(text_folder).address
        if not texts["classnames"]:
            check_classnames(self.classnames, f"{address}/{CLASSNAMES}")
        if not texts["templates"]:
            check_templates(self.templates, f"{address}/{TEMPLATES}")
        if not self.classnames:
            raise ValueError(
                f"{text_folder} in suite names no classes; test sets need classes, also where the training set has none"
            )
        self._label_names = (self._read_file(folders[0], CLASSNAMES) if self.num_classes else None) or self.classnames
        check_order("texts.classnames", self.classnames, self._label_names, f"{folders[0]}/{CLASSNAMES}")
        for folder in folders if self.num_classes else ():
            self._check_class_file(TRAIN, folder, self.classnames, by_name=not texts["classnames"])
        self._classes = {
            name: resolve_groups(f"suite.{name}.classes", entry.classes, self.classnames, self._names_source)
            for name, entry in self.suite_entries.items()
        }
        for name, entry in self.suite_entries.items():
            if entry.role == OTHER:
                continue
            by_name = entry.classes is None and not texts["classnames"]
            expected = self._classes[name] or self.classnames
            self._check_class_file(f"suite.{name}", entry.location.folder, expected, by_name)

    @property
    def _first_set(self) -> str:
        """Name of the suite's first set with training classes."""
        return next(name for name, entry in self.suite_entries.items() if entry.role != OTHER)

    def _check_class_file(self, key: str, folder: str, expected: Sequence[Any], by_name: bool) -> None:
        """Compare the class names in a folder, if there are any, with the expected classes by number or by name."""
        if (names := self._read_file(folder, CLASSNAMES)) is None:
            return
        if len(names) != len(expected):
            is_training = expected is self.classnames
            source = self._names_source if is_training else ""
            hint = ""
            if is_training and key != TRAIN:
                groups = suggest_groups(names, self.classnames)
                is_subset = f"they are training classes, so write classes: {groups}"
                hint = f"; {is_subset if groups else 'a set with classes of its own has role other'}"
            raise ValueError(
                f"{key}: {folder} has {len(names)} classes, but {len(expected)} are expected{source}{hint}"
            )
        self._check_class_order(key, folder, names, expected)
        for number, name in enumerate(names):
            if by_name and name != expected[number]:
                raise ValueError(f"{key}: {folder} calls class {number} {name!r}, but {expected[number]!r} is expected")

    def _check_class_order(self, key: str, folder: str, names: Sequence[str], expected: Sequence[Any]) -> None:
        """Refuse a folder whose classes are the expected ones in another order, also if arguments name them anew."""
        file = f"{folder}/{CLASSNAMES}"
        if expected is not self.classnames:
            covered = [self._label_names[group[0]] for group in expected if len(group) == 1]
            check_order(f"{key}.classes", covered, names, file)
        elif key == TRAIN:
            first = next(iter(self.train_locations.values())).folder
            check_order(f"{TRAIN}: {first}", self._label_names, names, file)
        else:
            remedy = f"give the classes of its labels in {key}.classes"
            check_order(f"{key}: the training set", self._label_names, names, file, remedy)

    def _read_file(self, folder: str, name: str) -> list[str] | None:
        """Read the lines of a text file in a folder; None where it does not exist."""
        return read_lines(self.store, folder, name)

    def _read_lines(self, folder: str, name: str) -> list[str]:
        try:
            return self.store.lines(folder, name)
        except FileNotFoundError as error:
            raise ValueError(f"{error}: a set of shards needs it; write it with make_shards") from error

    # -- samples ------------------------------------------------------------------------------------------------

    def train_labels(self) -> ClassLabels:
        """Classes of the training samples; labels that are names are looked up in the folder's own class names."""
        if self.num_classes is None:
            return ClassLabels(None)
        folder = next(iter(self.train_locations.values())).folder
        return ClassLabels(self.num_classes, self._read_file(folder, CLASSNAMES) or self.classnames, self._names_source)

    def eval_labels(self, eval_set: EvalSet) -> ClassLabels:
        """Classes of the samples of a test set."""
        folder = self.suite_entries[eval_set.name].location.folder
        if eval_set.texts is not None:
            return own_labels(self.store, folder, eval_set.texts)
        own_names = self._read_file(folder, CLASSNAMES)
        names = () if eval_set.classes else self.classnames
        source = "" if eval_set.classes else self._names_source
        return ClassLabels(len(eval_set.classes or self.classnames), own_names or names, source)

    def train_shards(self) -> list[Shard]:
        """Training shards."""
        return [
            shard
            for domain, location in enumerate(self.train_locations.values())
            for shard in self.store.shards(location, domain)
        ]

    def prepare_data(self) -> None:
        """Download remote shards, those of auxiliary sets, too, with a progress bar."""
        shards = self.train_shards() if self.trains else []
        for name, entry in self.suite_entries.items():
            if entry.video:
                continue
            shards += self.store.shards(entry.location)
            self.store.expected_samples(f"suite.{name}", entry.location)
        remote = [shard for shard in shards if shard.root.remote]
        for shard in progress_bar(remote, desc="fetching shards", unit="shard"):
            shard.fetch()
        for module in self._auxiliary.values() if self.trains else ():
            module.prepare_data()

    def train_source(self) -> IndexedSource:
        """Training samples."""
        locations = list(self.train_locations.values())
        expected = locations[0].samples if len(locations) > 1 else self.store.expected_samples("train", locations[0])
        source = self._index("train", self.train_shards(), self.train_labels(), expected)
        missing = sorted(set(range(self.num_classes or 0)) - set(source.labels.tolist()))
        if missing:
            name = self.classnames[missing[0]]
            warnings.warn(
                f"train: {counted(len(missing), 'class has', 'classes have')} no sample, the first is {missing[0]} "
                f"({name!r})",
                stacklevel=2,
            )
        return source

    def eval_source(self, eval_set: EvalSet) -> ImageSource:
        """Samples of a test set."""
        if eval_set.name in self._videos:
            return self._videos[eval_set.name].source
        entry = self.suite_entries[eval_set.name]
        key = f"suite.{eval_set.name}"
        expected = self.store.expected_samples(key, entry.location)
        source = self._index(key, self.store.shards(entry.location), self.eval_labels(eval_set), expected)
        if source.unlabelled:
            raise ValueError(
                f"{key}: {counted(source.unlabelled, 'sample has', 'samples have')} a caption but no class; a test "
                "set needs classes"
            )
        return source

    def eval_transform(self, eval_set: EvalSet) -> EvalCrop:
        """Crop of the model's own preprocessing, inside the set's border."""
        return self._eval_crops[eval_set.name]

    def _index(self, key: str, shards: list[Shard], labels: ClassLabels, expected: int | None) -> IndexedSource:
        source = IndexedSource(shards, labels, self.cache_dir / "indices")
        self.incomplete += int(source.left_out.sum())
        if source.left_out.any():
            warnings.warn(f"{key}: {describe_left_out(source.left_out.tolist())}", stacklevel=2)
        check_samples(key, source.paths[0].parent, len(source) + int(source.left_out.sum()), expected)
        return source
