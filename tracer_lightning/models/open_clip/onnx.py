"""Export of CLIP models to ONNX."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tracer_lightning.functional.lora_merge import merge
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.models.model import Backbone
from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.open_clip.export import check_takes_images
from tracer_lightning.types import InputSpec

IMAGE_FILE, TEXT_FILE, PREPROCESSING_FILE = "image.onnx", "text.onnx", "preprocessing.json"
TOLERANCE = 1e-4
"""Largest difference of features between ONNX Runtime and torch."""
SAMPLES = 3
"""Number of random samples that both are compared on, which is not the number that is traced."""
COMPARED_AT_ONCE = 32
"""Number of test images in a batch that both are compared on."""


class Agreement(NamedTuple):
    """Comparison of ONNX Runtime with torch on images."""

    images: int
    """Number N of test images; 0 where both were compared on noise alone."""
    difference: float
    """Largest difference between two features of the same image."""
    same_class: int
    """Number of test images for which both predict the same class; N for models without logits."""


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
    test_batches: tuple[Tensor, ...] = ()
    """(B, 3, H, W) uint8 images that ONNX Runtime and torch are compared on, besides the inputs."""
    logit_unit: float = 1.0
    """Largest norm of a row of the head: logits differ by at most this multiple of the distance of the features."""


@torch.no_grad()
def export_onnx(
    backbone: Backbone, prompts: Tensor | None, folder: Path, test_images: Tensor | None = None
) -> Agreement:
    """Write both towers as ONNX models for batches of any size, and how images are prepared for them.

    ``image.onnx`` maps pixels (B, 3, H, W) in [0, 1] to normalised features (B, D) and, of a model with a head or with
    prompts, logits (B, C). ``text.onnx`` maps tokens (B, L) to normalised features (B, D).

    Args:
        backbone: CLIP model, whose low-rank updates are merged in place, with its input specification.
        prompts: (C, P, L) tokens of every template for every class, of which a model without a head gets a zero-shot
            head; None for no logits.
        folder: existing folder.
        test_images: (N, 3, H, W) uint8 images on which ONNX Runtime is compared with torch, besides noise.

    Returns:
        How well both agree on images.

    Raises:
        ValueError: features of ONNX Runtime differ from those of torch by more than :data:`TOLERANCE`, or it predicts
            another class for an image whose two most probable classes are further apart; or a library is missing.
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
    unit = 1.0 if weight is None else float(weight.norm(dim=1).max())
    size = (3, spec.image_size, spec.image_size)
    pixels = torch.rand(SAMPLES, *size, generator=torch.Generator().manual_seed(0))
    tokens = spec.tokenize(["a photo.", "a photo of a cat.", "two dogs"])
    test_batches = () if test_images is None else torch.split(test_images, COMPARED_AT_ONCE)
    agreements = {}
    for name, graph in {
        IMAGE_FILE: _Graph(image, pixels, "pixels", outputs, test_batches, unit),
        TEXT_FILE: _Graph(_TextTower(model), tokens, "tokens", ("features",)),
    }.items():
        _write(graph, folder / name)
        session = onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        agreements[name] = _compare(graph, session, name)
    _write_preprocessing(spec, tokens.shape[1], folder / PREPROCESSING_FILE)
    return agreements[IMAGE_FILE]


def _write_preprocessing(spec: InputSpec, context_length: int, path: Path) -> None:
    preprocessing = {
        "image_size": spec.image_size,
        "resize_mode": spec.resize_mode,
        "interpolation": spec.interpolation,
        "antialias": True,
        "pixels": "RGB in [0, 1]; the model normalises them",
        "context_length": context_length,
    }
    path.write_text(json.dumps(preprocessing, indent=2) + "\n", encoding="utf-8")


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


def _compare(graph: _Graph, session: Any, name: str) -> Agreement:
    """Compare ONNX Runtime with torch on batches of other sizes than that traced; raise ValueError if they differ."""
    batches = [graph.inputs, *(images.float() / 255 for images in graph.test_batches)]
    differences, same = zip(*(_compare_batch(graph, session, name, inputs) for inputs in batches), strict=True)
    return Agreement(sum(map(len, graph.test_batches)), max(differences), sum(same[1:]))


def _compare_batch(graph: _Graph, session: Any, name: str, inputs: Tensor) -> tuple[float, int]:
    """Largest difference of features, and number of samples with the same class, which are all without logits."""
    expected = dict(zip(graph.output_names, graph.module(inputs), strict=True))
    values = session.run(None, {graph.input_name: inputs.numpy()})
    actual = {key: torch.from_numpy(value) for key, value in zip(graph.output_names, values, strict=True)}
    difference = float((actual["features"] - expected["features"]).abs().max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{name}: features differ by {difference:.2g} between ONNX Runtime and torch, of at most {TOLERANCE:g}"
        )
    if "logits" not in expected:
        return difference, len(inputs)
    is_same = actual["logits"].argmax(1) == expected["logits"].argmax(1)
    greatest = expected["logits"].topk(min(2, expected["logits"].shape[1])).values
    margin = (greatest[:, 0] - greatest[:, -1]) / graph.logit_unit
    if (~is_same & (margin > TOLERANCE)).any():
        raise ValueError(f"{name}: ONNX Runtime predicts another class than torch")
    return difference, int(is_same.sum())
