"""Data: what every data module shares, the embedded data set, folders of pictures, and shards."""

from tracer_lightning.data.coloured_digits import ColouredDigitsDataModule, ColouredMNISTDataModule
from tracer_lightning.data.datamodule import ClipDataModule
from tracer_lightning.data.digits import DigitsDataModule
from tracer_lightning.data.image_folder import ImageFolderDataModule
from tracer_lightning.data.imagenet import (
    imagenet_a_classes,
    imagenet_classnames,
    imagenet_r_classes,
    imagenet_templates,
    objectnet_classes,
    released_classnames,
    released_templates,
)
from tracer_lightning.data.shards.datamodule import ShardDataModule
from tracer_lightning.data.shards.stream_datamodule import StreamedShardDataModule

__all__ = [
    "ClipDataModule",
    "ColouredDigitsDataModule",
    "ColouredMNISTDataModule",
    "DigitsDataModule",
    "ImageFolderDataModule",
    "ShardDataModule",
    "StreamedShardDataModule",
    "imagenet_a_classes",
    "imagenet_classnames",
    "imagenet_r_classes",
    "imagenet_templates",
    "objectnet_classes",
    "released_classnames",
    "released_templates",
]
