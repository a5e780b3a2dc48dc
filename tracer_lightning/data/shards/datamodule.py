"""Shards in clip-benchmark's format, indexed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracer_lightning.data.datamodule import ClipDataModule
from tracer_lightning.data.shards.manifest import CLASSNAMES, TEMPLATES
from tracer_lightning.data.shards.roots import Root, open_root
from tracer_lightning.data.shards.source import IndexedSource, shard_paths
from tracer_lightning.data.transforms import CentreCrop, Decoded, RandomCrop
from tracer_lightning.types import EvalSet, InputSpec


class ShardDataModule(ClipDataModule):
    """A training split and a suite of test splits, each ``ROOT/FOLDER/<split>/<i>.tar``.

    Every epoch is an exact permutation of the samples: shards, remote ones once downloaded, are read at the places that
    an index of their headers gives. Class names and templates are those of the training set's own files; the sets of
    the suite must have the same classes.

    Args:
        spec: what the model expects.
        root: folder, ``http(s)://`` address or ``hf://datasets/OWNER/NAME@REVISION`` above all folders.
        train: ``folder`` and ``split``.
        suite: name of each set to its ``folder``, ``split`` and ``role`` (id or ood). The first of role id is watched
            during training.
        cache: folder on this machine for downloads and indices.
        augmentation: ``crop_scale`` and ``flip`` of :class:`tracer_lightning.data.transforms.RandomCrop`.
        loading: of :class:`ClipDataModule`: ``batch_size``, ``eval_batch_size``, ``num_workers``, ``seed`` and
            ``max_bad_fraction``.
    """

    def __init__(
        self,
        spec: InputSpec,
        root: str,
        train: Mapping[str, str],
        suite: Mapping[str, Mapping[str, str]],
        cache: str,
        augmentation: Mapping[str, Any],
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        self._address, self._cache = root.rstrip("/"), Path(cache).expanduser()
        self._train, self._suite = train, suite
        self.train_transform = Decoded(RandomCrop(spec.image_size, augmentation["crop_scale"], augmentation["flip"]))
        self.eval_transform = Decoded(CentreCrop(spec.image_size))
        self.classnames = self._lines(train["folder"], CLASSNAMES)
        self.templates = self._lines(train["folder"], TEMPLATES)
        for name, place in suite.items():
            if place["role"] not in ("id", "ood"):
                raise ValueError(f"suite.{name}.role must be id or ood, found {place['role']!r}")
            if (found := self._lines(place["folder"], CLASSNAMES)) != self.classnames:
                raise ValueError(
                    f"suite.{name}: {place['folder']} has {len(found)} classes, which are not the "
                    f"{len(self.classnames)} of {train['folder']}"
                )
        self.eval_sets = tuple(EvalSet(name, place["split"], place["role"]) for name, place in suite.items())
        self.val_set = next((eval_set for eval_set in self.eval_sets if eval_set.role == "id"), self.eval_sets[0])

    def _root(self, folder: str) -> Root:
        return open_root(f"{self._address}/{folder}", self._cache / "downloads")

    def _lines(self, folder: str, name: str) -> Sequence[str]:
        try:
            text = self._root(folder).fetch(name).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ValueError(f"{error}: a set of shards needs it; make one with scripts/make_shards.py") from error
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _source(self, folder: str, split: str) -> IndexedSource:
        source = IndexedSource(shard_paths(self._root(folder), split), len(self.classnames), self._cache / "indices")
        if source.incomplete:
            warnings.warn(
                f"{folder}/{split}: {source.incomplete} samples without picture or label are left out", stacklevel=2
            )
        return source

    def train_source(self) -> IndexedSource:
        """The training samples."""
        return self._source(self._train["folder"], self._train["split"])

    def eval_source(self, eval_set: EvalSet) -> IndexedSource:
        """The samples of one set of the suite."""
        return self._source(self._suite[eval_set.name]["folder"], eval_set.split)
