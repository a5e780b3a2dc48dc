"""The outcome of stage 1 in a file, from which a continued run starts instead of repeating the stage."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tracer_lightning.alignment.measurements import Measurements
from tracer_lightning.alignment.recalibration import Slopes
from tracer_lightning.alignment.stage import Alignment
from tracer_lightning.alignment.transported import TransportedPredictor
from tracer_lightning.models import ClipModel, read_checkpoint
from tracer_lightning.models.open_clip.embedders import embedder_parameters
from tracer_lightning.models.weights import check_plain
from tracer_lightning.storage import atomic_file
from tracer_lightning.types import TargetSpec

WEIGHT, BIAS, TRANSITION, MEASUREMENTS = "source_head.weight", "source_head.bias", "label_given_source", "measurements"
VALUES, SLOPES = "values", "slopes"
"""Names of the tensors beside the embedder's own: the transported predictor, (2, F) measurements before and after,
where values are predicted, their means in each cluster and, where the source predictor was recalibrated, its (2, 4)
slopes before and after."""


def write_alignment(path: Path, model: ClipModel, alignment: Alignment) -> None:
    """Write the model's embedder, the transported predictor and the measurements as safetensors, atomically."""
    transported = alignment.transported
    tensors: dict[str, Tensor] = {
        **embedder_parameters(model),
        WEIGHT: transported.weight,
        BIAS: transported.bias,
        TRANSITION: transported.transition,
        MEASUREMENTS: torch.tensor([alignment.before, alignment.after], dtype=torch.double),
    }
    if transported.values is not None:
        tensors[VALUES] = transported.values
    if alignment.slopes is not None:
        tensors[SLOPES] = torch.tensor(alignment.slopes, dtype=torch.double)
    with atomic_file(path) as partial:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial)


def read_alignment(path: Path, model: ClipModel, classes: int, outputs: TargetSpec | None = None) -> Alignment:
    """Read such a file, and load its embedder into the model.

    Args:
        path: path of the file.
        model: model with an embedder of the same form, changed in place.
        classes: number C of target classes.
        outputs: values that are predicted in place of classes, if any.

    Raises:
        ValueError: the file is missing or damaged, or of another model or other classes.
    """
    content = read_checkpoint(path, "alignment")
    check_plain(content, str(path))
    parameters = embedder_parameters(model)
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    width = content[WEIGHT].shape[-1] if WEIGHT in content and content[WEIGHT].ndim else 0
    source_classes = content[BIAS].numel() if BIAS in content else 0
    if outputs is not None:
        classes = len(content[VALUES]) if VALUES in content and content[VALUES].ndim else 0
        shapes[VALUES] = torch.Size([classes, *outputs.mean.shape])
    shapes |= {
        WEIGHT: torch.Size([source_classes, width]),
        BIAS: torch.Size([source_classes]),
        TRANSITION: torch.Size([classes, source_classes]),
        MEASUREMENTS: torch.Size([2, len(Measurements._fields)]),
    }
    if SLOPES in content:
        shapes[SLOPES] = torch.Size([2, len(Slopes._fields)])
    for name, shape in shapes.items():
        actual = content[name].shape if name in content else None
        if actual != shape:
            raise ValueError(f"{path}: {name} must have the shape {tuple(shape)}, found {actual and tuple(actual)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(content[name])
    before, after = (Measurements(*measurements) for measurements in content[MEASUREMENTS].tolist())
    slopes = None
    if SLOPES in content:
        first, last = (Slopes(*values) for values in content[SLOPES].tolist())
        slopes = first, last
    values = None if outputs is None else content[VALUES]
    binary = outputs is not None and outputs.binary
    transported = TransportedPredictor(content[WEIGHT], content[BIAS], content[TRANSITION], values, binary)
    return Alignment(before, after, transported, [], slopes)
