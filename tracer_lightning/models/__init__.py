"""Models: open_clip models behind one interface, weights, parameter-efficient fine-tuning, heads."""

from tracer_lightning.models.compute import configure_compute
from tracer_lightning.models.files import read_checkpoint
from tracer_lightning.models.freezing import freeze, part_of, train_last, train_parts
from tracer_lightning.models.open_clip.build import Backbone, build_clip, load_clip
from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.weights import load_weights

__all__ = [
    "Backbone",
    "ClipModel",
    "build_clip",
    "configure_compute",
    "freeze",
    "load_clip",
    "load_weights",
    "part_of",
    "read_checkpoint",
    "train_last",
    "train_parts",
]
