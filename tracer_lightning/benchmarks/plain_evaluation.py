"""Straightforward evaluation as a reference for benchmarks, not used by the application.

It passes over the data for each model, builds the head class by class from captions of all 77 tokens, reads PIL images
from folders, and computes metrics with ``.item()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from tracer_lightning.benchmarks.images import plain_transform
from tracer_lightning.types import InputSpec

BINS = 10


class PlainEvaluation:
    """Evaluates one model on datasets.

    Args:
        model: an ``open_clip.CLIP``.
        spec: input specification of the model.
        precision: ``32-true``, or ``bf16-mixed`` for autocast.
        batch_size: number of images in a batch.
        num_workers: number of workers of the loaders.
    """

    def __init__(self, model: nn.Module, spec: InputSpec, precision: str, batch_size: int, num_workers: int) -> None:
        self.model: Any = model.eval()
        self.spec, self.batch_size, self.num_workers = spec, batch_size, num_workers
        self.device = next(model.parameters()).device
        self.autocast = precision == "bf16-mixed"

    def _encode(self, encode: Any, inputs: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            features = encode(inputs.to(self.device))
        return F.normalize(features.float() if self.autocast else features, dim=-1)

    @torch.no_grad()
    def head(self, classnames: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Build the zero-shot head (C, D), class by class."""
        rows = []
        for name in classnames:
            tokens = self.spec.tokenize([template.replace("{c}", name) for template in templates])
            rows.append(F.normalize(self._encode(self.model.encode_text, tokens).mean(dim=0), dim=0))
        return torch.stack(rows)

    @torch.no_grad()
    def scores(self, folder: Path, head: Tensor) -> dict[str, float]:
        """Compute ``n``, ``accuracy``, ``accuracy_top5`` and ``ece`` on a folder with a subfolder for each class."""
        dataset = torchvision.datasets.ImageFolder(str(folder), plain_transform(self.spec, train=False))
        loader: Any = torch.utils.data.DataLoader(dataset, self.batch_size, num_workers=self.num_workers)
        correct, correct_top5, confidences = 0, 0, []
        for images, labels in loader:
            features = self._encode(self.model.encode_image, images)
            probabilities = (self.model.logit_scale.exp() * features @ head.T).softmax(dim=-1)
            labels = labels.to(self.device)
            confidence, predicted = probabilities.max(dim=-1)
            correct += (predicted == labels).sum().item()
            top = probabilities.topk(min(5, len(head)), dim=-1).indices
            correct_top5 += (top == labels[:, None]).any(dim=-1).sum().item()
            confidences += list(zip(confidence.tolist(), (predicted == labels).tolist(), strict=True))
        n = len(dataset)
        return {"n": n, "accuracy": correct / n, "accuracy_top5": correct_top5 / n, "ece": _ece(confidences)}


def _ece(confidences: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error of pairs of confidence and correctness."""
    error = 0.0
    for number in range(BINS + 1):  # the last for a confidence of 1
        inside = [pair for pair in confidences if int(pair[0] * BINS) == number]
        error += abs(sum(correct - confidence for confidence, correct in inside))
    return error / len(confidences)
