"""Stage 1 of cross-modal fine-tuning: learning an embedder of another modality for a pretrained body."""

from tracer_lightning.alignment.distances import dataset_distance, feature_distance
from tracer_lightning.alignment.measurements import Measurements
from tracer_lightning.alignment.objective import Objective
from tracer_lightning.alignment.source import Source, read_source
from tracer_lightning.alignment.stage import Alignment, align
from tracer_lightning.alignment.transported import TransportedPredictor

__all__ = [
    "Alignment",
    "Measurements",
    "Objective",
    "Source",
    "TransportedPredictor",
    "align",
    "dataset_distance",
    "feature_distance",
    "read_source",
]
