"""Shards in clip-benchmark's format, indexed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.data.images.image_source import ImageSource
from tracer_lightning.data.images.names import check_classnames, check_templates
from tracer_lightning.data.images.transforms import Decoded, EvalCrop, EvalDecoder, RandomCrop
from tracer_lightning.data.shards.labels import Labels
from tracer_lightning.data.shards.manifest import CLASSNAMES, TEMPLATES
from tracer_lightning.data.shards.roots import LocalRoot
from tracer_lightning.data.shards.samples import left_out
from tracer_lightning.data.shards.source import IndexedSource
from tracer_lightning.data.shards.store import Member, Place, Shard, Store, check_samples, member, place
from tracer_lightning.data.shards.videos import read_videos
from tracer_lightning.types import EvalSet, InputSpec


class ShardDataModule(ClipDataModule):
    """A training split and a suite of test splits, each ``ROOT/FOLDER/<split>/<i>.tar``.

    Every epoch is an exact permutation of the samples: shards, remote ones once downloaded, are read at the places that
    an index of their headers gives.

    Args:
        spec: what the model expects.
        root: folder, ``http(s)://`` address or ``hf://datasets/OWNER`` above all folders.
        train: see :class:`tracer_lightning.data.shards.store.Place`; several folders (``pacs_*``) are trained on
            together, and each gives the domain ``{d}`` of a template its name.
        suite: name of each set to its place, ``role``, and perhaps ``classes`` and ``border``: see
            :class:`tracer_lightning.data.shards.store.Member`. A pattern stands for all folders that no other entry
            names, each called what the star stands for.
        texts: ``classnames``, ``templates`` (None: those in the training set's folder or, where it holds pairs of
            images and captions, in that of the suite's first set) and ``train_templates`` (None: the same).
        augmentation: ``crop_scale`` and ``flip`` of :class:`tracer_lightning.data.images.transforms.RandomCrop`.
        eval_decoder: as in :class:`tracer_lightning.data.images.transforms.EvalCrop`.
        cache_dir: folder on this machine for downloads and indices.
        loading: of :class:`ClipDataModule`: ``batch_size``, ``eval_batch_size``, ``num_workers``, ``seed``,
            ``max_bad_fraction`` and ``shots``.
    """

    def __init__(
        self,
        spec: InputSpec,
        root: str,
        train: Mapping[str, Any],
        suite: Mapping[str, Mapping[str, Any]],
        texts: Mapping[str, Sequence[str] | None],
        augmentation: Mapping[str, Any],
        eval_decoder: EvalDecoder,
        cache_dir: str,
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        self.cache_dir = Path(cache_dir).expanduser()
        self.store = Store(root, self.cache_dir)
        self.train_places = self._expanded(place("data.train", train))
        self.domains = [name.replace("_", " ") for name in self.train_places if name]
        self.members = self._members(suite)
        self._videos = read_videos(self.store, self.members)
        for name, video in self._videos.items():
            self.members[name] = self.members[name]._replace(classes=video.classes)
        self._texts(texts)
        self.train_transform = Decoded(RandomCrop(spec.image_size, **augmentation, interpolation=spec.interpolation))
        self._eval_crops = {name: EvalCrop(spec, eval_decoder, entry.border) for name, entry in self.members.items()}
        sets = {
            name: EvalSet(
                name,
                str(entry.place.split or "test"),
                entry.role.replace("val", "id"),
                entry.classes,
                entry.place.samples,
                self._videos[name].neighbours if entry.video else None,
            )
            for name, entry in self.members.items()
        }
        self.eval_sets = tuple(sets[name] for name, entry in self.members.items() if entry.role != "val")
        watched = [name for role in ("val", "id") for name, entry in self.members.items() if entry.role == role]
        self.val_set = sets[watched[0]] if watched else self.eval_sets[0]

    # -- what the configuration names -------------------------------------------------------------------------------

    def _expanded(self, place: Place) -> dict[str, Place]:
        """The place, or one for every folder that its pattern fits, by what the star stands for."""
        if "*" not in place.folder:
            return {"": place}
        return {name: place._replace(folder=folder) for name, folder in self.store.matches(place.folder).items()}

    def _members(self, suite: Mapping[str, Mapping[str, Any]]) -> dict[str, Member]:
        given = {name: member(name, entry) for name, entry in suite.items() if entry is not None}
        named = {entry.place.folder for entry in given.values()}
        found: dict[str, Member] = {}
        for name, entry in given.items():
            for star, where in self._expanded(entry.place).items():
                if star and where.folder in named:
                    continue
                if (star or name) in found:
                    raise ValueError(f"suite: two sets are called {star or name}; give one another name")
                found[star or name] = entry._replace(place=where)
        tested = {self._where(entry.place): name for name, entry in found.items() if entry.role != "val"}
        if not tested:
            raise ValueError("suite: names no test set; add one with role id or ood, such as suite=own")
        for name, entry in found.items():
            if entry.role == "val" and (other := tested.get(self._where(entry.place))):
                raise ValueError(
                    f"suite.{name} and suite.{other} are the same images; a set with role: val must be none that is "
                    "tested on"
                )
        return found

    def _where(self, place: Place) -> tuple[str, str | None, str | None]:
        """What tells the places of samples apart."""
        root = self.store.root(place.folder)
        folder = str(root.folder.resolve()) if isinstance(root, LocalRoot) else root.address
        return folder, place.split, place.shards

    def _texts(self, texts: Mapping[str, Sequence[str] | None]) -> None:
        """Take class names and templates from the configuration or the sets' own files; compare all sets with them."""
        folders = [entry.folder for entry in self.train_places.values()]
        own = [] if texts["classnames"] else self._lines(folders[0], CLASSNAMES)
        self.num_classes = len(texts["classnames"] or own) or None  # None: pairs of images and captions
        self._named_by = " in data.texts.classnames" if texts["classnames"] else ""
        self.labelled = self.num_classes is not None
        home = folders[0] if self.num_classes else next(iter(self.members.values())).place.folder
        self.classnames = texts["classnames"] or self._lines(home, CLASSNAMES)
        self.templates = texts["templates"] or self._lines(home, TEMPLATES)
        self.train_classnames, self.train_templates = texts.get("train_classnames"), texts["train_templates"] or ()
        where = self.store.root(home).address
        if not texts["classnames"]:
            check_classnames(self.classnames, f"{where}/{CLASSNAMES}")
        if not texts["templates"]:
            check_templates(self.templates, f"{where}/{TEMPLATES}")
        if not self.classnames:
            raise ValueError(f"suite: {home} names no classes; test sets need them, also of a model trained on pairs")
        for folder in folders if self.num_classes else ():
            self._compare_file("data.train", folder, self.classnames, by_name=not texts["classnames"])
        for name, entry in self.members.items():
            covered = max((index for group in entry.classes or () for index in group), default=-1)
            if covered >= len(self.classnames):
                raise ValueError(
                    f"suite.{name}.classes covers class {covered}, and there are {len(self.classnames)}{self._named_by}"
                )
            by_name = entry.classes is None and not texts["classnames"]
            self._compare_file(f"suite.{name}", entry.place.folder, entry.classes or self.classnames, by_name)

    def _compare_file(self, key: str, folder: str, expected: Sequence[Any], by_name: bool) -> None:
        """Compare a folder's classes, where it names them, by number or by name."""
        if (found := self._own_names(folder)) is None:
            return
        if len(found) != len(expected):
            named_by = self._named_by if expected is self.classnames else ""
            raise ValueError(f"{key}: {folder} has {len(found)} classes, and {len(expected)} are expected{named_by}")
        for number, name in enumerate(found):
            if by_name and name != expected[number]:
                raise ValueError(f"{key}: {folder} calls class {number} {name!r}, and {expected[number]!r} is expected")

    def _own_names(self, folder: str) -> list[str] | None:
        """The class names in a folder; None where it has none."""
        try:
            return self.store.lines(folder, CLASSNAMES)
        except FileNotFoundError:
            return None

    def _lines(self, folder: str, name: str) -> list[str]:
        try:
            return self.store.lines(folder, name)
        except FileNotFoundError as error:
            raise ValueError(f"{error}: a set of shards needs it; make one with scripts/make_shards.py") from error

    # -- the samples ------------------------------------------------------------------------------------------------

    def train_labels(self) -> Labels:
        """The classes of the training samples; where labels are names, those of the folder."""
        if self.num_classes is None:
            return Labels(None)
        folder = next(iter(self.train_places.values())).folder
        return Labels(self.num_classes, self._own_names(folder) or self.classnames, self._named_by)

    def eval_labels(self, eval_set: EvalSet) -> Labels:
        """The classes of the samples of one set of the suite."""
        entry = self.members[eval_set.name]
        names = () if entry.classes else self.classnames
        named_by = "" if entry.classes else self._named_by
        return Labels(len(entry.classes or self.classnames), self._own_names(entry.place.folder) or names, named_by)

    def train_shards(self) -> list[Shard]:
        """The tar files to train on."""
        return [
            shard
            for domain, entry in enumerate(self.train_places.values())
            for shard in self.store.shards(entry, domain)
        ]

    def prepare_data(self) -> None:
        """Download what is remote, with a progress bar."""
        shards = self.train_shards() if self.trains else []
        for name, entry in self.members.items():
            if entry.video:
                continue
            shards += self.store.shards(entry.place)
            self.store.expected_samples(f"suite.{name}", entry.place)
        remote = [shard for shard in shards if shard.root.remote]
        for shard in tqdm(remote, desc="fetching shards", unit="shard", delay=2.0):
            shard.fetch()

    def train_source(self) -> IndexedSource:
        """The training samples."""
        places = list(self.train_places.values())
        expected = places[0].samples if len(places) > 1 else self.store.expected_samples("data.train", places[0])
        source = self._indexed("data.train", self.train_shards(), self.train_labels(), expected)
        absent = sorted(set(range(self.num_classes or 0)) - set(source.labels.tolist()))
        if absent:
            name = self.classnames[absent[0]]
            warnings.warn(
                f"data.train: {len(absent)} classes have no sample, the first is {absent[0]} ({name!r})", stacklevel=2
            )
        return source

    def eval_source(self, eval_set: EvalSet) -> ImageSource:
        """The samples of one set of the suite."""
        if eval_set.name in self._videos:
            return self._videos[eval_set.name].source
        entry = self.members[eval_set.name]
        key = f"suite.{eval_set.name}"
        expected = self.store.expected_samples(key, entry.place)
        source = self._indexed(key, self.store.shards(entry.place), self.eval_labels(eval_set), expected)
        if source.unlabelled:
            raise ValueError(
                f"{key}: {source.unlabelled} samples have a caption and no class; a test set needs classes"
            )
        return source

    def eval_transform(self, eval_set: EvalSet) -> EvalCrop:
        """The crop of the model's own preprocessing, inside the set's border."""
        return self._eval_crops[eval_set.name]

    def _indexed(self, key: str, shards: list[Shard], labels: Labels, expected: int | None) -> IndexedSource:
        source = IndexedSource(shards, labels, self.cache_dir / "indices")
        self.incomplete += int(source.left_out.sum())
        if source.left_out.any():
            warnings.warn(f"{key}: {left_out(source.left_out.tolist())}", stacklevel=2)
        check_samples(key, source.paths[0].parent, len(source) + int(source.left_out.sum()), expected)
        return source
