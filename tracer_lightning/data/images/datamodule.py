"""The data module of captioned images, which every data set of images extends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from tracer_lightning.data.core.available_memory import available_memory
from tracer_lightning.data.core.loader import CountedLoader, ResumableLoader
from tracer_lightning.data.core.mix import MixLevel
from tracer_lightning.data.core.sampler import RowSampler
from tracer_lightning.data.images.captions import CaptionTables, sample_rng
from tracer_lightning.data.images.decoding import decode
from tracer_lightning.data.images.image_datamodule import ImageDataModule, auxiliary_prefix
from tracer_lightning.data.images.image_source import ImageSource
from tracer_lightning.data.images.in_memory import (
    DecodedSource,
    EncodedOnly,
    InMemory,
    Prepare,
    check_in_memory,
    keep_in_memory,
    megabytes,
)
from tracer_lightning.data.images.names import group_name, split_names
from tracer_lightning.data.images.normalization import Normalization
from tracer_lightning.data.images.samples import (
    AuxiliaryDataset,
    CaptionedDataset,
    CaptionedRows,
    Collate,
    SampleBuilder,
    Transform,
)
from tracer_lightning.data.images.shots import few_shot
from tracer_lightning.data.images.transforms import DecodeAndCrop
from tracer_lightning.data.images.unreadable import TRAINING
from tracer_lightning.functional.text import trim_tokens
from tracer_lightning.functional.wording import counted
from tracer_lightning.types import Batch, ClassTexts, ConversationSpec, EvalSet, InputSpec

MOST_REPEATS = 1.0
"""How many others of its class an image may expect in a batch, of equally frequent classes, without a warning.

With ImageNet's 1,000 classes and the paper's batch of 512 it is half as many.
"""


class ClipDataModule(ImageDataModule):
    """Captioned training batches and labelled evaluation sets, for one model's inputs.

    A subclass gives ``classnames``, ``templates``, ``eval_sets`` and ``val_set``, and reads images in
    :meth:`train_source` and :meth:`eval_source`, which are called once each. Batches hold uint8 images, normalised
    once they are on the device.

    Args:
        spec: inputs that the model expects.
        max_bad_fraction: as for :class:`tracer_lightning.data.images.unreadable.UnreadableImages`.
        shots: images of each class to train on, drawn by the seed; None for all.
        in_memory: whether the images of each set are decoded once and kept in memory: training images before their
            crop, where ``train_transform`` is a :class:`DecodeAndCrop`, and evaluation images after theirs. ``auto``
            keeps sets of at most 512 MiB and at most a quarter of the memory available to each process, and only where
            models are trained, since otherwise each image is read once. Workers share the copy of their process.
        loading: as for :class:`DataModule`; ``seed`` is that of captions, too.
    """

    classnames: Sequence[str]
    """C class names."""
    templates: Sequence[str]
    """P caption templates with ``{c}``, for the zero-shot head and, unless there are others, for captions."""
    train_classnames: Sequence[str] | None = None
    train_templates: Sequence[str] = ()
    """Names and templates of captions, with ``{c}`` and perhaps ``{d}``, where they are not those of the head.

    A class may have several names, separated by ``|``: each caption draws one.
    """
    domains: Sequence[str] = ()
    """Names for ``{d}``, where training images come from several places."""
    eval_sets: Sequence[EvalSet]
    """The test suite."""
    val_set: EvalSet
    """The ID split watched during training."""
    labelled: bool = True
    """Whether training images have classes."""
    has_classes: bool = True
    """Whether there are classes, of training or test images, that images can be classified among."""
    has_values: bool = False
    """Whether samples have values to predict in place of classes."""
    draws_image_template_pairs: bool = False
    """Whether an epoch is of rows of images x templates (:class:`RowSampler`), as in the released code."""
    mix_level: MixLevel = "batch"
    """Default level of a mix: captions of other data would be easy negatives in the batches of a contrastive loss."""
    train_transform: Transform | None = None
    """Crops training images to the model's size; None where they have it."""
    spec: InputSpec

    def __init__(
        self,
        spec: InputSpec,
        max_bad_fraction: float,
        shots: int | None = None,
        in_memory: InMemory = False,
        **loading: Any,
    ) -> None:
        super().__init__(spec, max_bad_fraction, **loading)
        if isinstance(spec, ConversationSpec):
            raise ValueError(
                "spec must be that of a model of images and captions; choose another backbone, or other data"
            )
        if shots is not None and shots < 1:
            raise ValueError(f"shots must be >= 1 or None, got {shots}")
        self.shots, self.in_memory = shots, check_in_memory(in_memory)
        self._tables = CaptionTables(spec.tokenize)
        self._sources: dict[EvalSet | None, ImageSource] = {}
        self._decoded: dict[EvalSet | None, DecodedSource | None] = {}
        self._memory = available_memory()
        self._normalization = Normalization(spec.mean, spec.std)

    # -- for subclasses ---------------------------------------------------------------------------------------------

    def train_source(self) -> ImageSource:
        """Training images."""
        raise NotImplementedError

    def eval_source(self, eval_set: EvalSet) -> ImageSource:
        """Images of one evaluation set."""
        raise NotImplementedError

    def eval_transform(self, eval_set: EvalSet) -> Transform | None:
        """Crops images of one evaluation set to the model's size; None where they have it."""
        return None

    def draw_image_template_pairs(self) -> None:
        """Draw an epoch from all pairs of an image and a template, as the released code does."""
        if self.mix is not None:
            raise ValueError("pairs of images and templates are drawn from one set; remove the auxiliary sets of mix")
        self.draws_image_template_pairs = True

    # -- texts ------------------------------------------------------------------------------------------------------

    def context(self) -> dict[str, Any]:
        """The prompts of the zero-shot head, if there are classes."""
        return {"prompts": self.prompts()} if self.has_classes else {}

    def suite_context(self) -> dict[str, Any]:
        """The prompts of the zero-shot heads, of the training classes and of the sets with classes of their own."""
        own_prompts = self.own_prompts()
        return {**self.context(), **({"own_prompts": own_prompts} if own_prompts else {})}

    def class_texts(self) -> ClassTexts | None:
        """Class names and templates of the zero-shot head; None for pairs of images and captions."""
        return ClassTexts(tuple(self.classnames), tuple(self.templates)) if self.labelled else None

    def prompts(self) -> Tensor:
        """(C, P, L) tokens of every template for every class, for zero-shot heads."""
        return self._prompts(self.classnames, self.templates)

    def own_prompts(self) -> dict[str, Tensor]:
        """(C', P', L') tokens of every template for every class, for each set with classes of its own, by its name."""
        return {
            eval_set.name: self._prompts(*eval_set.texts) for eval_set in self.eval_sets if eval_set.texts is not None
        }

    def _prompts(self, classnames: Sequence[str], templates: Sequence[str]) -> Tensor:
        tokens = self._tables.of(classnames, templates).tokens
        return trim_tokens(tokens.flatten(0, 1)).reshape(*tokens.shape[:2], -1) if self.spec.trims_text else tokens

    def label_names(self, eval_set: EvalSet) -> list[str]:
        """Names of the labels of an evaluation set: its own, or those of the training classes that each covers."""
        if eval_set.texts is not None:
            return [name or f"class {number}" for number, name in enumerate(eval_set.texts.classnames)]
        groups = eval_set.classes or [(number,) for number in range(len(self.classnames))]
        return [group_name([self.classnames[number] or f"class {number}" for number in group]) for group in groups]

    def training_targets(self) -> Tensor | None:
        """(N, ...) values to predict of all training samples, NaN where unknown; None where they have classes."""
        return None

    def check_losses(self, reads: frozenset[str], terms: Iterable[Any]) -> list[str]:
        """Refuse classification without labels; warn where many captions of an image's own class count as wrong."""
        if "targets" in reads and not self.has_values:
            raise ValueError(
                "the samples have classes, and a loss reads values to predict; choose a loss of classes, or data and a "
                "task with values"
            )
        if "logits" in reads and not self.labelled:
            raise ValueError(
                "the training images have captions but no labels, which a head needs; choose another method"
            )
        for name, module in self._auxiliary.items() if "logits" in reads else ():
            if not module.has_classes_of(self):
                raise ValueError(
                    f"mix.sets.{name} has other classes than the training set, among which a head can't classify; "
                    "choose a method without a head, or an auxiliary set with exactly the same class names"
                )
        repeats = (self.batch_size - 1) / len(self.classnames)
        diagonal = any(getattr(term, "positives", None) == "diagonal" for term in terms)
        if not (self.labelled and diagonal and repeats >= MOST_REPEATS):
            return []
        return [
            f"a batch of {self.batch_size} has about {self.batch_size * repeats / 2:,.0f} pairs of images of one class "
            f"({repeats:.1f} for each image, of {len(self.classnames)} classes), and positives 'diagonal' "
            "pushes each away from the other's caption; set positives to 'same_label', unless each caption describes "
            "one image only"
        ]

    # -- data-hybrid training -----------------------------------------------------------------------------------------

    def has_classes_of(self, module: ClipDataModule) -> bool:
        """Whether the training labels mean the same classes as those of another data module."""
        return self.labelled and module.labelled and tuple(self.classnames) == tuple(module.classnames)

    def auxiliary_dataset(self, name: str) -> AuxiliaryDataset:
        """Training samples of an auxiliary set, with labels of their own unless its class names are the same."""
        module = self._auxiliary[name]
        module._unreadable.training_name = name
        return AuxiliaryDataset(module.train_dataset(), self._first_labels()[name], auxiliary_prefix(name))

    def _first_labels(self) -> dict[str, int]:
        """Label of the first class of each auxiliary set; labels of different classes are different."""
        first_labels = {tuple(self.classnames): 0}
        total = len(self.classnames)
        for module in self._auxiliary.values():
            classnames = tuple(module.classnames)
            if classnames not in first_labels:
                first_labels[classnames] = total
                total += len(classnames)
        return {name: first_labels[tuple(module.classnames)] for name, module in self._auxiliary.items()}

    # -- samples ----------------------------------------------------------------------------------------------------

    def train_sample_builder(self) -> SampleBuilder:
        """Training images to samples with captions."""
        names = split_names(self.train_classnames or ()) or self.classnames
        if len(names) != len(self.classnames):
            raise ValueError(f"texts.train_classnames names {len(names)} classes, but there are {len(self.classnames)}")
        captions = self._tables.of(names, self.train_templates or self.templates, self.domains)
        return SampleBuilder(captions, self.train_transform, self.blank(), self.seed)

    def eval_sample_builder(self, eval_set: EvalSet) -> SampleBuilder:
        """Images of one evaluation set to samples."""
        return SampleBuilder(None, self.eval_transform(eval_set), self.blank(), self.seed)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of each sample in a batch, channels first."""
        return (3, self.spec.image_size, self.spec.image_size)

    def blank(self) -> Tensor:
        """A finished image that holds nothing, for padding."""
        return torch.zeros(self.sample_shape, dtype=torch.uint8)

    def train_dataset(self) -> CaptionedDataset:
        """Training images with captions."""
        builder = self.train_sample_builder()
        source: ImageSource = self.source(None)
        if isinstance(transform := builder.transform, DecodeAndCrop):
            decoded = self._decoded_source(None, lambda data, index: decode(data))
            if decoded is not None:
                source = decoded
                builder.crop_in_batches(transform)
        return (CaptionedRows if self.draws_image_template_pairs else CaptionedDataset)(source, builder)

    def eval_dataset(self, eval_set: EvalSet) -> CaptionedDataset:
        """Images of one evaluation set."""
        builder = self.eval_sample_builder(eval_set)
        if (transform := builder.transform) is None:
            return CaptionedDataset(self.source(eval_set), builder)
        source = self._decoded_source(eval_set, lambda data, index: transform(data, sample_rng(builder.seed, 0, index)))
        if source is None:
            return CaptionedDataset(self.source(eval_set), builder)
        builder.transform = EncodedOnly(transform)
        return CaptionedDataset(source, builder)

    def plain_dataset(self) -> CaptionedDataset:
        """Training images, prepared as in validation."""
        return CaptionedDataset(self.source(None), self.eval_sample_builder(self.val_set))

    def train_loader(self) -> CountedLoader:
        """Training batches from the beginning of the first epoch."""
        if not self.draws_image_template_pairs:
            return super().train_loader()
        dataset = self.train_dataset()
        assert dataset.builder.captions is not None
        templates = dataset.builder.captions.templates
        sampler = RowSampler(len(dataset), templates, self.batch_size, self.seed, *self._ranks)
        return ResumableLoader(dataset, sampler, **self._loader_options())

    def collate(self) -> Collate:
        """Samples to a batch, whose captions are deduplicated and trimmed."""
        return Collate(self.spec.trims_text)

    def source(self, eval_set: EvalSet | None) -> ImageSource:
        """Images as they are stored, of an evaluation set or, for None, of the training set."""
        if eval_set not in self._sources:
            source = self.train_source() if eval_set is None else self.eval_source(eval_set)
            if eval_set is None and self.shots is not None:
                source = few_shot(source, self.shots, self.seed, self.classnames)
            self._sources[eval_set] = source
        return self._sources[eval_set]

    def _decoded_source(self, eval_set: EvalSet | None, prepare: Prepare) -> DecodedSource | None:
        """Images of a set, decoded and in memory; None where they are not to be kept."""
        if self.in_memory is False or (self.in_memory == "auto" and not self.trains):
            return None
        if eval_set not in self._decoded:
            name = "training images" if eval_set is None else f"images of {eval_set.name}"
            available = self._memory_left()
            self._decoded[eval_set] = keep_in_memory(self.source(eval_set), prepare, name, self.in_memory, available)
        return self._decoded[eval_set]

    def _memory_left(self) -> int | None:
        """This process's share of the memory that was available when the data module was made, less what it uses.

        Processes of one machine would otherwise count what the others have decoded so far, and decide differently.
        """
        if self._memory is None:
            return None
        used = sum(source.nbytes for source in self._decoded.values() if source is not None)
        return self._memory // (self.trainer.num_devices if self.trainer else 1) - used

    def about_memory(self) -> str:
        """Describe which images are kept in memory; empty where none are."""
        lines = [self._about_own_memory()]
        lines += [f"of {name}, {line}" for name, module in self._auxiliary.items() if (line := module.about_memory())]
        return "; ".join(filter(None, lines))

    def _about_own_memory(self) -> str:
        sources = {eval_set: source for eval_set, source in self._decoded.items() if source is not None}
        if not sources:
            return ""
        parts = []
        if TRAINING in sources:
            parts.append(counted(len(sources[TRAINING]), "training image"))
        if evaluated := [source for eval_set, source in sources.items() if eval_set is not TRAINING]:
            images = sum(map(len, evaluated))
            parts.append(f"{counted(images, 'image')} of {counted(len(evaluated), 'evaluation set')}")
        size = megabytes(sum(source.nbytes for source in sources.values()))
        each = f" in each of {self._ranks[1]} processes" if self._ranks[1] > 1 else ""
        return f"{' and '.join(parts)} are kept in memory, decoded: {size}{each}"

    # -- batches ----------------------------------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise uint8 images (B, 3, H, W) to the model's floats."""
        self.count_unreadable(batch.unreadable, batch.indices, dataloader_idx)
        return batch._replace(images=self._normalization(batch.images))

    def set_size(self, eval_set: EvalSet | None) -> int:
        """Number of images of an evaluation set or, for None, of the training set."""
        return len(self.source(eval_set))
