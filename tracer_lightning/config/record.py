"""Records of the settings that a checkpoint may bring: its model and its data, as plain values.

They are those of this package's own classes; :mod:`tracer_lightning.config.options` reads the settings of others.
"""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from tracer_lightning.config.model_record import (
    BuiltClip,
    BuiltLlava,
    ConvolutionEmbedder,
    LoadedAnsweringModel,
    LoadedClip,
    Peft,
    Target,
)
from tracer_lightning.storage.records import Name, StrictRecord, Text

Count = Annotated[int, Field(ge=1, le=1 << 32)]
HeldOut = Annotated[dict[Literal["fraction", "seed"], int | float], Field(min_length=2)]
Share = Annotated[float, Field(ge=0, le=1)]


class ClassNames(Target):
    """One of this package's lists of class names or templates."""

    target: Literal[
        "tracer_lightning.data.imagenet_classnames",
        "tracer_lightning.data.imagenet_templates",
        "tracer_lightning.data.released_classnames",
        "tracer_lightning.data.released_templates",
    ] = Field(alias="_target_")


class ClassGroups(Target):
    """The classes of one of ImageNet's variants."""

    target: Literal[
        "tracer_lightning.data.imagenet_a_classes",
        "tracer_lightning.data.imagenet_r_classes",
        "tracer_lightning.data.objectnet_classes",
    ] = Field(alias="_target_")


class ImageData(Target):
    """Arguments of all data modules that read images."""

    batch_size: Count
    eval_batch_size: Count
    num_workers: Annotated[int, Field(ge=0, le=256)]
    max_bad_fraction: Share


class Data(ImageData):
    """Arguments of all data modules of images and captions."""

    shots: Count | None = None


class Digits(Data):
    """The embedded data set."""

    target: Literal["tracer_lightning.data.DigitsDataModule"] = Field(alias="_target_")
    train_styles: list[Name]
    renderings_per_digit: Annotated[int, Field(ge=1, le=1000)]


class Coloured(Data):
    """Arguments of the data modules of the toy experiment."""

    task: Literal["plain", "coloured"]
    correlation: Share
    label: Literal["colour", "digit"]
    desaturation: Share


class ColouredDigits(Coloured):
    """Scikit-learn's digits, plain and coloured."""

    target: Literal["tracer_lightning.data.ColouredDigitsDataModule"] = Field(alias="_target_")


class ColouredMNIST(Coloured):
    """MNIST, plain and coloured."""

    target: Literal["tracer_lightning.data.ColouredMNISTDataModule"] = Field(alias="_target_")
    root: Text
    download: bool


class DigitQuestions(Target):
    """Questions about scikit-learn's digits."""

    target: Literal["tracer_lightning.data.DigitQuestionsDataModule"] = Field(alias="_target_")
    styles: list[Name]
    renderings_per_digit: Annotated[int, Field(ge=1, le=1000)]
    rare_styles: list[Name]
    kinds: list[Name]
    kind_weights: list[Annotated[float, Field(gt=0, le=1e6)]] | None
    wording: Annotated[int, Field(ge=0, le=1000)] | None
    rendering_seed: Count
    tests: Literal["grid", "kinds", "tasks"]
    task_sets: list[Text] | None = None
    batch_size: Count
    eval_batch_size: Count
    num_workers: Annotated[int, Field(ge=0, le=256)]


class QuestionFile(StrictRecord):
    """A file of questions."""

    file: Text
    folder: Text | None = None


class ValidationFile(StrictRecord):
    """A file of questions to validate on, if any."""

    file: Text | None = None
    folder: Text | None = None


class QuestionTest(QuestionFile):
    """A file of questions to test on."""

    role: Literal["id", "ood", "other"] | None = None
    image: Literal["id", "ood"] | None = None
    text: Literal["id", "wording", "task", "distractor", "open"] | None = None


class Vqa(ImageData):
    """Questions in files about images."""

    target: Literal["tracer_lightning.data.VqaDataModule"] = Field(alias="_target_")
    root: Text
    train: QuestionFile
    val: ValidationFile | None
    tests: dict[Name, QuestionTest | None]
    held_out: HeldOut
    columns: dict[Name, Text] | None
    letters: bool


class Texts(StrictRecord):
    """Class names and templates."""

    classnames: list[Text] | ClassNames | None = None
    templates: list[Text] | ClassNames | None = None
    train_classnames: list[Text] | ClassNames | None = None
    train_templates: list[Text] | ClassNames | None = None


class Augmentation(StrictRecord):
    """Augmentation of training images."""

    crop_scale: Annotated[list[Share], Field(min_length=2, max_length=2)]
    flip: Share


class OtherFolder(StrictRecord):
    """A folder of images with classes of their own."""

    folder: Text
    classnames: list[Text] | ClassNames | None = None
    templates: list[Text] | ClassNames


class Folders(StrictRecord):
    """The folders of splits."""

    train: Text | None
    val: Text | None
    test: Text | None
    ood: dict[Name, Text | None] | None = None
    others: dict[Name, OtherFolder | None] | None = None
    imagenet: Text | None = None


class Images(Data):
    """Arguments of the data modules of image files."""

    root: Text
    texts: Texts
    augmentation: Augmentation
    eval_decoder: Literal["torchvision", "pil"]
    in_memory: bool | Literal["auto"] = False


class ImageFolder(Images):
    """Folders of images."""

    target: Literal["tracer_lightning.data.ImageFolderDataModule"] = Field(alias="_target_")
    folders: Folders
    held_out: HeldOut

    @model_validator(mode="before")
    @classmethod
    def _older(cls, content: Any) -> Any:
        """Add ``held_out`` to records of runs that are older than it, and trained on all images."""
        return {"held_out": {"fraction": 0.0, "seed": 0}, **content} if isinstance(content, dict) else content


class PairFile(StrictRecord):
    """Pairs of images and captions."""

    file: Text
    folder: Text | None = None


class PairTest(PairFile):
    """Pairs to test on."""

    role: Literal["id", "ood", "other"] | None = None


class PairColumns(StrictRecord):
    """Columns of tables of pairs."""

    image: Text | None = None
    caption: Text | None = None
    separator: Text | None = None


class SplitLocation(StrictRecord):
    """Location of a split of shards."""

    folder: Text
    split: Text | None = None
    shards: Text | None = None
    samples: Count | None = None


class SuiteSet(SplitLocation):
    """One set of a suite."""

    role: Literal["id", "ood", "other", "val"]
    classes: list[list[Annotated[int, Field(ge=0)] | Text] | Text] | ClassGroups | None = None
    border: Annotated[int, Field(ge=0, le=1 << 16)] | None = None
    video: bool | None = None
    classnames: list[Text] | ClassNames | None = None
    templates: list[Text] | ClassNames | None = None


class Pairs(Data):
    """Arguments of the data modules of images with captions of their own."""

    root: Text
    file: Text
    folder: Text | None
    val: Text | PairFile | None
    tests: dict[Name, Text | PairTest | None]
    held_out: HeldOut
    columns: PairColumns
    suite: dict[Name, SuiteSet | None]
    augmentation: Augmentation
    eval_decoder: Literal["torchvision", "pil"]
    cache_dir: Text
    in_memory: bool | Literal["auto"] = False


class IndexedPairs(Pairs):
    """Pairs read in any order."""

    target: Literal["tracer_lightning.data.PairsDataModule"] = Field(alias="_target_")


class StreamedPairs(Pairs):
    """Pairs whose training shards are read from beginning to end."""

    target: Literal["tracer_lightning.data.StreamedPairsDataModule"] = Field(alias="_target_")
    samples: Count | None
    cache: bool
    streams: Count
    shuffle_buffer: Count


class Shards(Images):
    """Arguments of the data modules of shards."""

    train: SplitLocation
    suite: dict[Name, SuiteSet | None]
    cache_dir: Text


class IndexedShards(Shards):
    """Shards read in any order."""

    target: Literal["tracer_lightning.data.ShardDataModule"] = Field(alias="_target_")


class StreamedShards(Shards):
    """Shards read from beginning to end."""

    target: Literal["tracer_lightning.data.StreamedShardDataModule"] = Field(alias="_target_")
    cache: bool
    streams: Count
    shuffle_buffer: Count


class ArrayData(Target):
    """Arguments of all data modules of arrays."""

    task: Literal["classification", "multilabel", "regression", "dense", "mask"] = "classification"
    held_out: HeldOut
    texts: Texts
    shots: Count | None
    batch_size: Count
    eval_batch_size: Count
    num_workers: Annotated[int, Field(ge=0, le=256)]


class Arrays(ArrayData):
    """Arrays in files of numpy."""

    target: Literal["tracer_lightning.data.ArrayDataModule"] = Field(alias="_target_")
    root: Text


class Series(ArrayData):
    """Time series in the files of an archive."""

    target: Literal["tracer_lightning.data.SeriesDataModule"] = Field(alias="_target_")
    root: Text | None
    name: Text


Backbone = BuiltClip | LoadedClip | BuiltLlava | LoadedAnsweringModel
DataModule = (
    Digits
    | DigitQuestions
    | Vqa
    | ColouredDigits
    | ColouredMNIST
    | ImageFolder
    | IndexedPairs
    | StreamedPairs
    | IndexedShards
    | StreamedShards
    | Arrays
    | Series
)


class Groups(StrictRecord):
    """Groups of settings that a checkpoint brings; those that it lacks are None."""

    backbone: Annotated[Backbone, Field(discriminator="target")] | None = None
    peft: Peft | None = None
    embedder: ConvolutionEmbedder | None = None
    data: Annotated[DataModule, Field(discriminator="target")] | None = None
    suite: dict[Name, SuiteSet | None] | None = None


def _targets(records: UnionType | type[Target]) -> frozenset[str]:
    """The classes and functions that records are of."""
    literals = (record.model_fields["target"].annotation for record in get_args(records) or (records,))
    return frozenset(target for literal in literals for target in get_args(literal))


RECORDED: dict[str, frozenset[str]] = {
    "backbone": _targets(Backbone),
    "data": _targets(DataModule),
    "embedder": _targets(ConvolutionEmbedder),
    "evaluation.test_suite": frozenset({"tracer_lightning.evaluation.ClassificationSuite"}),
}
"""This package's own classes and functions, by the node of a checkpoint's settings that names them. The suite needs no
record, since commands have settings of their own for it."""
