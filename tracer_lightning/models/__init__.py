"""Models: open_clip models behind one interface, weights, parameter-efficient fine-tuning, heads."""

from tracer_lightning.models.compute import configure_compute
from tracer_lightning.models.files import read_checkpoint
from tracer_lightning.models.freezing import freeze, train_last, train_parts
from tracer_lightning.models.model import Backbone, Model
from tracer_lightning.models.open_clip.build import build_clip, load_clip
from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.weights import load_weights

__all__ = [
    "Backbone",
    "ClipModel",
    "Model",
    "build_clip",
    "configure_compute",
    "freeze",
    "load_clip",
    "load_weights",
    "read_checkpoint",
    "train_last",
    "train_parts",
]
