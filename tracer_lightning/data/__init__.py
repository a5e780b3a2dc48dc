"""Data: what every data module shares, the embedded data set, and folders of pictures."""

from tracer_lightning.data.datamodule import ClipDataModule
from tracer_lightning.data.digits import DigitsDataModule
from tracer_lightning.data.image_folder import ImageFolderDataModule, imagenet_classnames, imagenet_templates
from tracer_lightning.data.shards.datamodule import ShardDataModule

__all__ = [
    "ClipDataModule",
    "DigitsDataModule",
    "ImageFolderDataModule",
    "ShardDataModule",
    "imagenet_classnames",
    "imagenet_templates",
]
