"""Labelled test sets beside pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.data.images.folder import FolderSource, class_folders, parse_other_set
from tracer_lightning.data.images.image_source import ImageSource
from tracer_lightning.data.images.transforms import DecodeAndCrop, EvalCrop, EvalDecoder, RandomCrop
from tracer_lightning.data.shards.own_texts import own_labels, read_own_texts
from tracer_lightning.data.shards.source import IndexedSource
from tracer_lightning.data.shards.store import OTHER, ShardStore, SuiteEntry, check_samples, parse_suite_entry
from tracer_lightning.functional.wording import counted
from tracer_lightning.types import EvalSet, InputSpec


class LabelledSetsDataModule(ClipDataModule):
    """Data module of images without classes, with labelled test sets that have classes of their own.

    Models are scored zero-shot on these sets, so that what training forgets shows there. A subclass gives the rest.

    Args:
        spec: input specification of the model.
        root: folder, or address of shards, that the folders of sets are relative to.
        suite: labelled sets by name, each with ``role: other`` and either shards (the fields of
            :class:`tracer_lightning.data.shards.store.SuiteEntry` and of its location; a folder with ``*`` stands for
            all matching folders, each named by the part that the star matches), or a folder of class folders
            (``folder``, ``templates`` and perhaps ``classnames``).
        augmentation: ``crop_scale`` and ``flip`` of :class:`tracer_lightning.data.images.transforms.RandomCrop`.
        eval_decoder: see :class:`tracer_lightning.data.images.transforms.EvalCrop`.
        cache_dir: local folder for downloads and indices.
        loading: arguments of :class:`ClipDataModule`.
    """

    def __init__(
        self,
        spec: InputSpec,
        root: str,
        suite: Mapping[str, Mapping[str, Any] | None],
        augmentation: Mapping[str, Any],
        eval_decoder: EvalDecoder,
        cache_dir: str,
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        self.root, self.cache_dir = root, Path(cache_dir).expanduser()
        self.train_transform = DecodeAndCrop(
            RandomCrop(spec.image_size, **augmentation, interpolation=spec.interpolation)
        )
        self._eval_decoder: EvalDecoder = eval_decoder
        self._store = ShardStore(root, self.cache_dir)
        self._shard_entries: dict[str, SuiteEntry] = {}
        self._class_folders: dict[str, Path] = {}
        self.labelled_sets: list[EvalSet] = []
        """The labelled sets."""
        for name, fields in suite.items() if self.evaluates else ():
            if fields is not None:
                self._add_set(name, fields)

    def _add_set(self, name: str, fields: Mapping[str, Any]) -> None:
        key = f"suite.{name}"
        if fields.get("role") != OTHER:
            raise ValueError(
                f"{key}.role must be {OTHER}, since pairs have no classes that a labelled set could share, got "
                f"{fields.get('role')!r}; sets of pairs belong in tests"
            )
        if fields.get("split") is None and fields.get("shards") is None:
            of_folder = {field: value for field, value in fields.items() if field != "role" and value is not None}
            folder, texts = parse_other_set(key, of_folder, Path(self.root).expanduser())
            self._class_folders[name] = folder
            self._append(EvalSet(name, "test", OTHER, texts=texts))
            return
        parsed = parse_suite_entry(name, fields)
        folders = {name: parsed.location.folder}
        if "*" in parsed.location.folder:
            folders = self._store.matches(parsed.location.folder)
        for set_name, folder_name in folders.items():
            entry = parsed._replace(location=parsed.location._replace(folder=folder_name))
            self._shard_entries[set_name] = entry
            texts = read_own_texts(self._store, key, entry)
            split, samples = entry.location.split or "test", entry.location.samples
            self._append(EvalSet(set_name, split, OTHER, samples=samples, texts=texts))

    def _append(self, eval_set: EvalSet) -> None:
        if eval_set.name in {labelled.name for labelled in self.labelled_sets}:
            raise ValueError(f"suite has two sets called {eval_set.name}; rename one of them")
        self.labelled_sets.append(eval_set)

    def eval_source(self, eval_set: EvalSet) -> ImageSource:
        """Images of a labelled set."""
        if eval_set.name in self._class_folders:
            folder = self._class_folders[eval_set.name]
            return FolderSource(folder, class_folders(folder))
        assert eval_set.texts is not None
        key, location = f"suite.{eval_set.name}", self._shard_entries[eval_set.name].location
        labels = own_labels(self._store, location.folder, eval_set.texts)
        source = IndexedSource(self._store.shards(location), labels, self.cache_dir / "indices")
        if source.unlabelled:
            raise ValueError(
                f"{key}: {counted(source.unlabelled, 'sample has', 'samples have')} a caption but no class; a "
                "labelled set needs classes, and sets of pairs belong in tests"
            )
        self.incomplete += int(source.left_out.sum())
        check_samples(key, location, len(source), self._store.expected_samples(key, location))
        return source

    def eval_transform(self, eval_set: EvalSet) -> EvalCrop:
        """Crop of the model's own preprocessing, inside the set's border."""
        entry = self._shard_entries.get(eval_set.name)
        return EvalCrop(self.spec, self._eval_decoder, 0 if entry is None else entry.border)
