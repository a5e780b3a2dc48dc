"""The loop of stage 1: only the embedder learns, while body and source predictor stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from tracer_lightning.alignment.distances import feature_distance
from tracer_lightning.alignment.encoding import Encoded, TrainingSamples, encode
from tracer_lightning.alignment.measurements import MOST_TRANSPORTED, Measurements, measure, measure_labels
from tracer_lightning.alignment.objective import Objective
from tracer_lightning.alignment.recalibration import Slopes, head_lipschitz
from tracer_lightning.alignment.source import Source
from tracer_lightning.alignment.target_classes import target_classes
from tracer_lightning.alignment.transported import TransportedPredictor
from tracer_lightning.data import ClipDataModule
from tracer_lightning.data.core.progress import progress_bar
from tracer_lightning.models import ClipModel
from tracer_lightning.models.open_clip.embedders import POSITIONS, embedder_parameters

MOST_MEASURED = 5_000
"""Greatest number of training samples that are measured."""
MAX_NORM = 1.0
"""Norm that gradients are clipped to."""


class Step(NamedTuple):
    """One step of stage 1: what it minimises, and measurements of its samples before it; entropies are in nats."""

    step: int
    """Number of the step, from 1."""
    distance: float
    """Distance term of the loss; NaN where the objective has none."""
    labels: float
    """Label term of the loss, before its weight; NaN where the objective has none."""
    source_distance: float
    """Exact distance to the source, as in :class:`Measurements`, like the values below."""
    distortion: float
    entropy: float
    bound: float
    log_loss: float


class Alignment(NamedTuple):
    """Outcome of stage 1."""

    before: Measurements
    """Measurements of the embedder at its initialisation."""
    after: Measurements
    """Measurements of the embedder that was learned."""
    transported: TransportedPredictor
    """Predictor of the target classes that follows from the embedder and the source predictor."""
    steps: list[Step]
    """Loss terms and measurements of each step."""
    slopes: tuple[Slopes, Slopes] | None = None
    """The source predictor before and after its recalibration; None without one."""

    @property
    def lipschitz(self) -> float:
        """L, the greatest Lipschitz constant of the source predictor's class probabilities."""
        return float(head_lipschitz(self.transported.weight))


def align(
    model: ClipModel,
    data: ClipDataModule,
    source: Source,
    objective: Objective,
    steps: int,
    samples: int,
    lr: float,
    seed: int,
    clusters: int,
) -> Alignment:
    """Learn the embedder of the model, in place, with AdamW without weight decay.

    The result depends on the seed and the data alone, so that all ranks come to the same embedder.

    Args:
        model: model with the embedder of the target modality, on the device of the source's points.
        data: data module of the target modality.
        source: the source modality, read with the same body.
        objective: what is minimised; nothing is learned where it is empty.
        steps: number of optimizer steps.
        samples: greatest number of samples of each modality in a step.
        lr: learning rate.
        seed: seed of the samples of each step.
        clusters: greatest number of clusters that values to predict are put into, which stand for classes.

    Raises:
        ValueError: a loss is not finite.
    """
    classes, device = target_classes(data, clusters, seed), source.points.device
    trained = embedder_parameters(model)
    was_training = model.training
    model.eval()
    measured = TrainingSamples(data, MOST_MEASURED, seed, device, classes.labels)
    before, transition = measure(model, measured, source, classes.size)
    after, log = before, []
    if not objective.is_empty:
        target = TrainingSamples(data, None, seed, device, classes.labels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # of the directions of sliced distances
            log = _learn(model, trained, target, source, objective, steps, samples, lr, seed)
        after, transition = measure(model, measured, source, classes.size)
    model.train(was_training)
    values = None if classes.values is None else classes.values.to(device)
    transported = TransportedPredictor(source.head.weight, source.head.bias, transition, values, is_binary(data))
    return Alignment(before, after, transported, log, source.slopes)


def is_binary(data: ClipDataModule) -> bool:
    """Whether the values to predict are 0 or 1; False for classes."""
    return "outputs" in (context := data.context()) and bool(context["outputs"].binary)


def _learn(
    model: ClipModel,
    trained: Mapping[str, Tensor],
    target: TrainingSamples,
    source: Source,
    objective: Objective,
    steps: int,
    samples: int,
    lr: float,
    seed: int,
) -> list[Step]:
    """Minimise the objective over the trained parameters."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(trained.values(), lr=lr, weight_decay=0.0)
    log = []
    for step in progress_bar(range(steps), desc="aligning the embedder", unit="step"):
        batch, labels = target.batch(torch.randperm(len(target), generator=generator)[:samples])
        rows = torch.randperm(len(source.points), generator=generator)[: len(labels)]
        encoded = encode(model, batch, source.space)
        distance_of, term_of = objective.terms(step / steps)
        distance, term = torch.full((2,), torch.nan)
        loss = torch.zeros((), device=labels.device)
        if distance_of is not None:
            distance = distance_of(encoded.points, labels, source.points[rows], source.labels[rows]) / source.unit
            loss = loss + distance
        if term_of is not None:
            term = term_of(source.predict(encoded.features), labels)
            loss = loss + objective.weight * term
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss of stage 1 is not finite at step {step + 1} (distance {float(distance.detach()):.3g}, label "
                f"term {float(term.detach()):.3g}); choose a smaller lr"
            )
        parts = (distance.detach(), term.detach())
        log.append(_measured_step(step + 1, parts, encoded, labels, source, rows))
        gradients = dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))
        gradients[POSITIONS][0] = 0.0  # the class token's, which belongs to the body
        for name, parameter in trained.items():
            parameter.grad = gradients[name]
        clip_grad_norm_(trained.values(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()
    return log


@torch.no_grad()
def _measured_step(
    number: int, parts: tuple[Tensor, Tensor], encoded: Encoded, labels: Tensor, source: Source, rows: Tensor
) -> Step:
    """Measurements of the samples of a step, whose distance and term of labels are ``parts``."""
    some = slice(MOST_TRANSPORTED)
    chosen = rows[some]
    distance = feature_distance(encoded.points[some], labels[some], source.points[chosen], source.labels[chosen])
    measurements = measure_labels(source.predict(encoded.features).double(), labels, int(labels.max()) + 1)
    of_labels = (measurements.distortion, measurements.entropy, measurements.bound, measurements.log_loss)
    values = (distance / source.unit, *of_labels)
    return Step(number, *(float(value) for value in (*parts, *values)))
