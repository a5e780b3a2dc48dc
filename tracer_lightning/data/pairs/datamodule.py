"""Data module of images with captions of their own."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from tracer_lightning.data.images.captions import WITHOUT_TEXTS
from tracer_lightning.data.images.image_source import ImageSource
from tracer_lightning.data.pairs.columns import parse_columns
from tracer_lightning.data.pairs.content import find_copies, warn_repeated
from tracer_lightning.data.pairs.files import PairFiles, parse_location
from tracer_lightning.data.pairs.labelled_sets import LabelledSetsDataModule
from tracer_lightning.data.pairs.problems import listed
from tracer_lightning.data.pairs.sources import PairSource, PairSubset
from tracer_lightning.data.pairs.splits import hold_out
from tracer_lightning.data.pairs.truncated import warn_truncated
from tracer_lightning.functional.text import trim_tokens
from tracer_lightning.functional.wording import counted
from tracer_lightning.types import CaptionTokens, EvalSet, InputSpec

ROLES = ("id", "ood", "other")
"""Roles of test sets of pairs: those of the distribution trained on, shifts of it, and others."""


class PairsDataModule(LabelledSetsDataModule):
    """Data module of images with captions of their own, and labelled test sets beside them.

    An epoch is one pass over the images, each with one of its captions, drawn anew in each epoch. Test sets of pairs
    have all captions of their images. Without a validation file, some images are held out with all their captions;
    training images with the content of a validation or test image are left out. Without test sets, the validation set
    is tested.

    Args:
        spec: input specification of the model.
        file: training pairs; see :class:`tracer_lightning.data.pairs.files.PairLocation`.
        folder: folder that the paths of its images are relative to; None for that of the file.
        val: validation pairs: their file, or ``file`` and ``folder``; None to hold out training images.
        tests: test sets of pairs by name: their file, or ``file`` and perhaps ``folder`` and ``role`` (``id``, ``ood``
            or ``other``; default ``id``); None leaves a set out.
        held_out: ``fraction`` of the images to validate on where there is no validation file (at least
            ``splits.FEWEST`` images), and the ``seed`` of their choice, which is independent of the run's; fraction 0
            monitors the first test set.
        columns: ``image``, ``caption`` and ``separator``; see :class:`tracer_lightning.data.pairs.columns.Columns`.
        loading: arguments of :class:`LabelledSetsDataModule`; ``max_bad_fraction`` also bounds the rows without image
            or caption.

    Raises:
        ValueError: an argument is invalid, a file can't be read, too many of its rows can't be used, or a test set has
            a single image.
    """

    labelled = has_classes = False
    validation_remedy = "name test sets in data.tests and, with data.held_out.fraction=0, a validation set in data.val"
    classnames, templates = WITHOUT_TEXTS

    def __init__(
        self,
        spec: InputSpec,
        file: str,
        folder: str | None,
        val: str | Mapping[str, str | None] | None,
        tests: Mapping[str, str | Mapping[str, str | None] | None],
        held_out: Mapping[str, float],
        columns: Mapping[str, str | None],
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        max_bad_fraction = loading["max_bad_fraction"]
        self.files = PairFiles(self.root, parse_columns(columns), self.cache_dir, max_bad_fraction)
        self.location = parse_location("file", {"file": file, "folder": folder})
        self._fraction, self._split_seed = held_out["fraction"], int(held_out["seed"])
        if not 0 <= self._fraction < 1:
            raise ValueError(f"held_out.fraction must be >= 0 and < 1, got {self._fraction}")
        self._val_location = None if val is None else parse_location("val", val)
        self._pairs: dict[EvalSet, PairSource] = {}
        if self.evaluates:
            self._set_eval_sets({name: fields for name, fields in tests.items() if fields is not None})

    def _set_eval_sets(self, tests: Mapping[str, str | Mapping[str, str | None]]) -> None:
        """Set the test sets and the validation set."""
        if self._val_location is None and self._fraction == 0 and not tests:
            raise ValueError("tests must name a set, since val is None and held_out.fraction is 0; got none")
        pair_sets = [self._add_test(f"tests.{name}", name, fields) for name, fields in tests.items()]
        if self._val_location is not None:
            self.val_set = self._add(self._val_location.stem, "val", "id", self.files.open(self._val_location))
        elif self._held_out is not None:
            self.val_set = self._add(self.location.stem, "val", "id", self._held_out)
        else:
            self.val_set = pair_sets[0]
        names = [*tests, *([] if tests else [self.val_set.name])]
        for eval_set in self.labelled_sets:
            if eval_set.name in names:
                raise ValueError(f"suite.{eval_set.name} has the name of a set of pairs; rename one of them")
        self.eval_sets = (*(pair_sets or [self.val_set]), *self.labelled_sets)

    def _add_test(self, key: str, name: str, fields: str | Mapping[str, str | None]) -> EvalSet:
        role = (fields.get("role") if isinstance(fields, Mapping) else None) or ROLES[0]
        if role not in ROLES:
            raise ValueError(f"{key}.role must be one of {', '.join(ROLES)}, got {role!r}")
        return self._add(name, "test", role, self.files.open(parse_location(key, fields, ("role",))))

    def _add(self, name: str, split: str, role: str, source: PairSource) -> EvalSet:
        if len(source) < 2:
            raise ValueError(f"{name} has pairs of one image only, which is always retrieved; add pairs of others")
        eval_set = EvalSet(name, split, role, samples=len(source), retrieval=True)
        self._pairs[eval_set] = source
        return eval_set

    @cached_property
    def _splits(self) -> tuple[PairSource, PairSource | None]:
        """All training pairs, without those held out for validation, and the latter, if any."""
        source = self.files.open(self.location)
        if self._val_location is not None or self._fraction == 0:
            return source, None
        return hold_out(source, self._fraction, self._split_seed, self.location.file)

    @property
    def _held_out(self) -> PairSource | None:
        return self._splits[1]

    def about_validation(self) -> str:
        """Describe how many images are held out, and what is tested; empty where there are files for both."""
        tested = f"{self.val_set.name} is both monitored and tested" if self.val_set in self.eval_sets else ""
        if self._val_location is not None or self._fraction == 0:
            return tested
        count, total = len(self._pairs[self.val_set]), sum(map(len, filter(None, self._splits)))
        line = (
            f"{count:,} of {total:,} images in {self.location.file} ({count / total:.1%}) are held out of training "
            "for validation, with all their captions"
        )
        return f"{line}; {tested}" if tested else line

    # -- texts ------------------------------------------------------------------------------------------------------

    def suite_context(self) -> dict[str, Any]:
        """Captions of the sets of pairs, and prompts of the labelled sets by name."""
        captions = {eval_set: self.caption_tokens(eval_set) for eval_set in self._pairs}
        return {"captions": captions, "own_prompts": self.own_prompts()}

    def caption_tokens(self, eval_set: EvalSet) -> CaptionTokens:
        """All captions of a set of pairs, in the order of their images."""
        captions = self.captions(eval_set)
        tokens = self.spec.tokenize([caption for texts in captions for caption in texts])
        owners = np.repeat(np.arange(len(captions)), [len(texts) for texts in captions])
        return CaptionTokens(trim_tokens(tokens) if self.spec.trims_text else tokens, tuple(owners.tolist()))

    def captions(self, eval_set: EvalSet) -> list[tuple[str, ...]]:
        """Captions of each image of a set of pairs."""
        source = self._pairs[eval_set]
        return [source.captions(index) for index in range(len(source))]

    def label_names(self, eval_set: EvalSet) -> list[str]:
        """Names of the classes of a labelled set; none of a set of pairs."""
        return [] if eval_set.retrieval else super().label_names(eval_set)

    def check_losses(self, reads: frozenset[str], terms: Iterable[Any]) -> list[str]:
        """Refuse losses that read labels."""
        if "labels" in reads:
            raise ValueError(
                "pairs of images and captions have no labels, which a loss reads; set positives to 'diagonal'"
            )
        return super().check_losses(reads, terms)

    # -- images -----------------------------------------------------------------------------------------------------

    def train_source(self) -> ImageSource:
        """Training images without those held out, and without copies of validation and test images."""
        source = self._splits[0]
        warn_truncated(source, self.spec.tokenize, self.location.file)
        if not self._pairs:
            return source
        copies = find_copies(source, list(self._pairs.values()))
        if not len(copies):
            return source
        if len(copies) == len(source):
            raise ValueError(
                f"{self.location.file}: all training images are in a validation or test set, too; train on other pairs"
            )
        examples = [source.key(index) for index in copies.tolist()]
        warnings.warn(
            f"{self.location.file}: of {len(source):,} training images, "
            f"{counted(len(copies), 'is left out as a copy', 'are left out as copies')} of validation or test images: "
            f"{listed(examples, len(examples))}",
            stacklevel=2,
        )
        return PairSubset(source, np.setdiff1d(np.arange(len(source)), copies))

    def eval_source(self, eval_set: EvalSet) -> ImageSource:
        """Images of a set of pairs or of a labelled set."""
        if not eval_set.retrieval:
            return super().eval_source(eval_set)
        warn_truncated(self._pairs[eval_set], self.spec.tokenize, eval_set.name)
        warn_repeated(self._pairs[eval_set], eval_set.name)
        return self._pairs[eval_set]
