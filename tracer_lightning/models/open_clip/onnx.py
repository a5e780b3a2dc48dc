"""Export of CLIP models to ONNX."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tracer_lightning.functional.lora_merge import merge
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.models.model import Backbone
from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.open_clip.export import check_takes_images

IMAGE_FILE, TEXT_FILE, PREPROCESSING_FILE = "image.onnx", "text.onnx", "preprocessing.json"
TOLERANCE = 1e-4
"""Largest difference of features between ONNX Runtime and torch."""
SAMPLES = 3
"""Number of samples that both are compared on, which is not the number that is traced."""


class _ImageTower(nn.Module):
    """Features and, with a head, logits of images.

    Args:
        model: the model.
        mean: (3,) channel means.
        std: (3,) channel standard deviations.
        weight: (C, D) weights of a head, which include the logit scale; None for no logits.
        bias: (C,) its biases.
    """

    def __init__(self, model: ClipModel, mean: Tensor, std: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.model = model
        for name, value in (("mean", mean[:, None, None]), ("std", std[:, None, None]), ("weight", weight)):
            self.register_buffer(name, value)
        self.register_buffer("bias", bias)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Features (B, D), and logits (B, C) with a head, of pixels (B, 3, H, W) in [0, 1]."""
        buffers: Any = self
        features = self.model.encode_image((pixels - buffers.mean) / buffers.std)
        if buffers.weight is None:
            return (features,)
        return features, nn.functional.linear(features, buffers.weight, buffers.bias)


class _TextTower(nn.Module):
    """Features of texts."""

    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        """Features (B, D) of tokens (B, L)."""
        return (self.model.encode_text(tokens),)


class _Graph(NamedTuple):
    """What is exported to a file."""

    module: nn.Module
    inputs: Tensor
    """(B, ...), two samples that are traced."""
    input_name: str
    output_names: tuple[str, ...]


@torch.no_grad()
def export_onnx(backbone: Backbone, prompts: Tensor | None, folder: Path) -> None:
    """Write both towers as ONNX models for batches of any size, and how images are prepared for them.

    ``image.onnx`` maps pixels (B, 3, H, W) in [0, 1] to normalised features (B, D) and, of a model with a head or with
    prompts, logits (B, C). ``text.onnx`` maps tokens (B, L) to normalised features (B, D).

    Args:
        backbone: CLIP model, whose low-rank updates are merged in place, with its input specification.
        prompts: (C, P, L) tokens of every template for every class, of which a model without a head gets a zero-shot
            head; None for no logits.
        folder: existing folder.

    Raises:
        ValueError: the outputs of ONNX Runtime differ from those of torch, or a library is missing.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise ValueError(
            f"{error.name} is not installed; the extra onnx has it (pip install onnx onnxruntime onnxscript)"
        ) from error
    check_takes_images(backbone.model)
    merge(backbone.model)
    model: ClipModel = backbone.model.cpu().float().eval()
    spec = backbone.spec
    weight = bias = None
    if model.head is not None:
        weight, bias = model.head.weight, model.head.bias
    elif prompts is not None:
        weight = model.logit_scale * zero_shot_head(model.encode_text, prompts)
    image = _ImageTower(model, torch.tensor(spec.mean), torch.tensor(spec.std), weight, bias)
    outputs = ("features",) if weight is None else ("features", "logits")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(SAMPLES, 3, spec.image_size, spec.image_size, generator=generator)
    tokens = spec.tokenize(["a photo.", "a photo of a cat.", "two dogs"])
    for name, graph in {
        IMAGE_FILE: _Graph(image, pixels, "pixels", outputs),
        TEXT_FILE: _Graph(_TextTower(model), tokens, "tokens", ("features",)),
    }.items():
        _write(graph, folder / name)
        _check(graph, onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"]), name)
    preprocessing = {
        "image_size": spec.image_size,
        "resize_mode": spec.resize_mode,
        "interpolation": spec.interpolation,
        "antialias": True,
        "pixels": "RGB in [0, 1]; the model normalises them",
        "context_length": tokens.shape[1],
    }
    (folder / PREPROCESSING_FILE).write_text(json.dumps(preprocessing, indent=2) + "\n", encoding="utf-8")


def _write(graph: _Graph, path: Path) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations within torch
        program = torch.onnx.export(
            graph.module,
            (graph.inputs[:2],),
            dynamo=True,
            input_names=[graph.input_name],
            output_names=list(graph.output_names),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    program.save(path)


def _check(graph: _Graph, session: Any, name: str) -> None:
    """Raise ValueError where ONNX Runtime gives other outputs than torch for a batch of another size."""
    expected = dict(zip(graph.output_names, graph.module(graph.inputs), strict=True))
    actual = dict(zip(graph.output_names, session.run(None, {graph.input_name: graph.inputs.numpy()}), strict=True))
    difference = float(np.abs(actual["features"] - expected["features"].numpy()).max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{name}: features differ by {difference:.2g} between ONNX Runtime and torch, of at most {TOLERANCE:g}"
        )
    if "logits" in actual and (actual["logits"].argmax(1) != expected["logits"].numpy().argmax(1)).any():
        raise ValueError(f"{name}: ONNX Runtime predicts another class than torch")
