"""Straightforward training steps as references for benchmarks, not used by the application.

They use captions of all 77 tokens, torch's default AdamW and no compilation.
"""

from __future__ import annotations

import copy
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tracer_lightning.kernels import Kernel
from tracer_lightning.models import Backbone

LEARNING_RATE, DECAY = 1e-5, 0.1
WEIGHTS = {"fd": 3.516, "crd": 0.45, "icl": 0.9, "cross_kd": 0.9}
"""Weights of the terms in the released ViT-B/16 run."""
Features = tuple[Tensor, Tensor, Tensor]
"""Image (B, D), text (B, D) and scale ()."""


def _cross_entropy(queries: Tensor, keys: Tensor, scale: Tensor) -> Tensor:
    return F.cross_entropy(scale * queries @ keys.T, torch.arange(len(queries), device=queries.device))


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    return F.kl_div(student.log_softmax(dim=-1), teacher.softmax(dim=-1), reduction="batchmean")


def plain_model(backbone: Backbone) -> nn.Module:
    """Build open_clip's own model with the weights of a backbone."""
    model: nn.Module = open_clip.CLIP(**backbone.config)
    model.load_state_dict(backbone.model.model.state_dict())
    return model


class PlainFlyp:
    """FLYP, which fine-tunes both towers with InfoNCE.

    Args:
        model: an ``open_clip.CLIP``, trained in place.
        precision: ``32-true``, or ``bf16-mixed`` for autocast.
    """

    def __init__(self, model: nn.Module, precision: str) -> None:
        self.model = model.train()
        self.autocast = precision == "bf16-mixed"
        self.begin()

    def begin(self) -> None:
        """Create a new optimizer and clear the gradients."""
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
        self.optimizer.zero_grad()

    def features(self, model: nn.Module, images: Tensor, texts: Tensor) -> Features:
        """Compute features of images (B, 3, H, W) and texts (B, 77)."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            image, text, scale = model(images, texts)
        return (image.float(), text.float(), scale) if self.autocast else (image, text, scale)

    def loss(self, images: Tensor, texts: Tensor) -> Tensor:
        """Compute the InfoNCE loss ()."""
        image, text, scale = self.features(self.model, images, texts)
        return (_cross_entropy(image, text, scale) + _cross_entropy(text, image, scale)) / 2

    def step(self, images: Tensor, texts: Tensor) -> None:
        """Take one optimizer step."""
        loss = self.loss(images, texts)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


class NaiveTracer(PlainFlyp):
    """TRACER whose teacher is averaged parameter by parameter, with its statistics computed in Python at every step.

    Args:
        model: an ``open_clip.CLIP``, trained in place.
        precision: ``32-true``, or ``bf16-mixed`` for autocast.
        kernel: function from progress in (0, 1) to a weight.
        total_steps: number of optimizer steps of the run.
    """

    def __init__(self, model: nn.Module, precision: str, kernel: Kernel, total_steps: int) -> None:
        super().__init__(model, precision)
        self.teacher = copy.deepcopy(model).eval()
        self.kernel, self.total_steps = kernel, total_steps
        self.steps, self.weight_sum = 0, kernel(0.5 / (total_steps + 1))
        self.statistics: list[dict[str, float]] = []

    def loss(self, images: Tensor, texts: Tensor) -> Tensor:
        """Compute InfoNCE plus the four distillation terms and the cross-Frobenius penalty ()."""
        with torch.no_grad():
            teacher = self.features(self.teacher, images, texts)
        student = self.features(self.model, images, texts)
        (image, text, scale), (image_t, text_t, scale_t) = student, teacher
        p, q = scale * image @ text.T, scale * text @ image.T
        p_t, q_t = scale_t * image_t @ text_t.T, scale_t * text_t @ image_t.T
        terms = {
            "fd": ((image - image_t) ** 2).sum(dim=1).mean() + ((text - text_t) ** 2).sum(dim=1).mean(),
            "crd": _divergence(p_t, p) + _divergence(q_t, q),
            "icl": (_cross_entropy(image, text_t, scale) + _cross_entropy(text, image_t, scale)) / 2,
            "cross_kd": (_divergence(p_t, scale * image @ text_t.T) + _divergence(q_t, scale * text @ image_t.T)) / 2,
        }
        task: Tensor = (_cross_entropy(image, text, scale) + _cross_entropy(text, image, scale)) / 2
        weights: Any = self.model
        penalty: Tensor = torch.linalg.matrix_norm(weights.visual.proj @ weights.text_projection.T)
        self._record_statistics(p_t, p)
        for name, term in terms.items():
            task = task + WEIGHTS[name] * term
        return task + 0.05 * penalty

    def _record_statistics(self, teacher: Tensor, student: Tensor) -> None:
        """Record the statistics, row by row."""
        statistics = {}
        for name, logits in (("teacher", teacher), ("student", student)):
            rows = [row.detach().softmax(dim=-1) for row in logits]
            statistics[f"{name}/entropy"] = sum(float(-(row * row.log()).sum()) for row in rows) / len(rows)
            statistics[f"{name}/confidence"] = sum(float(row.max()) for row in rows) / len(rows)
        self.statistics.append(statistics)

    def step(self, images: Tensor, texts: Tensor) -> None:
        """Take one optimizer step and update the teacher."""
        super().step(images, texts)
        self.steps += 1
        weight = self.kernel((self.steps + 0.5) / (self.total_steps + 1)) / self.weight_sum
        with torch.no_grad():
            for averaged, parameter in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
                averaged.copy_((averaged + weight * parameter) / (1 + weight))
        self.weight_sum *= 1 + weight
