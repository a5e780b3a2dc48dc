"""Data: what every data module shares, and the embedded data set."""

from tracer_lightning.data.datamodule import ClipDataModule
from tracer_lightning.data.digits import DigitsDataModule

__all__ = ["ClipDataModule", "DigitsDataModule"]
