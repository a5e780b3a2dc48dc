"""Models: CLIP and models that answer questions behind one interface, weights, PEFT, heads."""

from tracer_lightning.models.answering.build import build_llava, load_pretrained
from tracer_lightning.models.answering.model import AnsweringModel
from tracer_lightning.models.compute import configure_compute
from tracer_lightning.models.files import read_checkpoint
from tracer_lightning.models.freezing import freeze, train_last, train_parts
from tracer_lightning.models.model import Backbone, Model
from tracer_lightning.models.open_clip.build import build_clip, load_clip
from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.weights import load_weights

__all__ = [
    "AnsweringModel",
    "Backbone",
    "ClipModel",
    "Model",
    "build_clip",
    "build_llava",
    "configure_compute",
    "freeze",
    "load_clip",
    "load_pretrained",
    "load_weights",
    "read_checkpoint",
    "train_last",
    "train_parts",
]
