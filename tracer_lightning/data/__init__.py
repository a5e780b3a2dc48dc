"""Data modules: digits, folders of images, shards, captioned images, arrays of other modalities, and questions."""

from tracer_lightning.data.arrays.files import ArrayDataModule
from tracer_lightning.data.arrays.series import SeriesDataModule
from tracer_lightning.data.core.datamodule import DataModule
from tracer_lightning.data.digits.coloured import ColouredDigitsDataModule, ColouredMNISTDataModule
from tracer_lightning.data.digits.datamodule import DigitsDataModule
from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.data.images.folder import ImageFolderDataModule
from tracer_lightning.data.images.imagenet import (
    imagenet_a_classes,
    imagenet_classnames,
    imagenet_r_classes,
    imagenet_templates,
    objectnet_classes,
    released_classnames,
    released_templates,
)
from tracer_lightning.data.pairs.datamodule import PairsDataModule
from tracer_lightning.data.pairs.stream_datamodule import StreamedPairsDataModule
from tracer_lightning.data.questions.datamodule import DigitQuestionsDataModule
from tracer_lightning.data.questions.vqa import VqaDataModule
from tracer_lightning.data.shards.datamodule import ShardDataModule
from tracer_lightning.data.shards.stream_datamodule import StreamedShardDataModule

__all__ = [
    "ArrayDataModule",
    "ClipDataModule",
    "ColouredDigitsDataModule",
    "ColouredMNISTDataModule",
    "DataModule",
    "DigitQuestionsDataModule",
    "DigitsDataModule",
    "ImageFolderDataModule",
    "PairsDataModule",
    "SeriesDataModule",
    "ShardDataModule",
    "StreamedPairsDataModule",
    "StreamedShardDataModule",
    "VqaDataModule",
    "imagenet_a_classes",
    "imagenet_classnames",
    "imagenet_r_classes",
    "imagenet_templates",
    "objectnet_classes",
    "released_classnames",
    "released_templates",
]
