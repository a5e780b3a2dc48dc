"""Evaluation of models that predict values in place of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracer_lightning.evaluation.suite import Suite
from tracer_lightning.evaluation.value_metrics import (
    LabelMetrics,
    MapMetrics,
    MaskMetrics,
    NumberMetrics,
    ValueMetrics,
)
from tracer_lightning.scores import Details, Metric
from tracer_lightning.types import IGNORE_INDEX, Batch, EvalSet, TargetSpec


class ValueSuite(Suite):
    """Errors per model and data set. A subclass declares its metrics and computes them in :meth:`make_metrics`.

    Args:
        eval_sets: the data sets, in the order of their loaders.
        outputs: the values to predict.
        models: names under which models may be evaluated.
        averages: as for :class:`Suite`.
        before: predicts values (B, ...) from the features (B, D) of untrained models; None for the means of the
            training targets.
    """

    mean: Tensor

    def __init__(
        self,
        eval_sets: Sequence[EvalSet],
        outputs: TargetSpec,
        models: Sequence[str] = ("student",),
        averages: Mapping[str, Sequence[str]] | None = None,
        before: nn.Module | None = None,
    ) -> None:
        super().__init__(eval_sets, averages)
        self.register_buffer("mean", outputs.mean, persistent=False)
        self._before, self._untrained = before, False
        self._metrics = {name: [self.make_metrics(outputs) for _ in eval_sets] for name in models}
        self._registered = nn.ModuleList(metrics for row in self._metrics.values() for metrics in row)

    def make_metrics(self, outputs: TargetSpec) -> ValueMetrics:
        """Metrics of one model on one data set."""
        raise NotImplementedError

    def start(self, models: Mapping[str, Any], untrained: bool = False) -> None:
        """Begin an evaluation of these models: forget earlier batches.

        Args:
            models: by name.
            untrained: leave the models' heads aside.

        Raises:
            ValueError: a model has no head that predicts such values.
        """
        super().start(models)
        self._untrained = untrained
        for name, model in models.items():
            shape = getattr(model.head, "mean", torch.zeros(0)).shape
            if not untrained and shape != self.mean.shape:
                raise ValueError(
                    f"{name} must have a head of values of the shape {tuple(self.mean.shape)}, as the data have, found "
                    f"{tuple(shape)}; choose the data it was made for"
                )
            for metrics in self._metrics[name]:
                metrics.reset()

    @torch.no_grad()
    def update(self, batch: Batch, set_index: int) -> None:
        """Take in a batch of the data set at that place."""
        assert batch.targets is not None
        counted = batch.indices != IGNORE_INDEX
        for name, model in self._models.items():
            outputs = self._guess(model, batch) if self._untrained else model.predict(batch.images)
            self._metrics[name][set_index].update(outputs.float(), batch.targets, counted)

    def _guess(self, model: Any, batch: Batch) -> Tensor:
        """Values (B, ...) that are predicted before training."""
        if self._before is None:
            return self.mean.expand(len(batch.images), *self.mean.shape)
        guess: Tensor = self._before(model.encode_image(batch.images))
        return guess

    def score(self, model: str, set_index: int) -> tuple[dict[str, Any], Details]:
        """Metrics of a model on the data set at that place; there are no details."""
        return self._metrics[model][set_index].compute(), {}


class MultilabelSuite(ValueSuite):
    """Labels that may hold together, ranked by their logits."""

    metrics = (
        Metric("map_error", "1 - mAP", "1-mAP", better="lower"),
        Metric("auroc_error", "1 - mean AUROC", "1-AUROC", better="lower"),
    )

    def make_metrics(self, outputs: TargetSpec) -> ValueMetrics:
        """See :class:`tracer_lightning.evaluation.value_metrics.LabelMetrics`."""
        return LabelMetrics()


class RegressionSuite(ValueSuite):
    """Numbers, in their own units."""

    metrics = (
        Metric("rmse", "RMSE", "RMSE", better="lower", percent=False),
        Metric("mae", "MAE", "MAE", better="lower", percent=False, shown=False),
    )

    def make_metrics(self, outputs: TargetSpec) -> ValueMetrics:
        """See :class:`tracer_lightning.evaluation.value_metrics.NumberMetrics`."""
        return NumberMetrics()


class DenseSuite(ValueSuite):
    """Maps of numbers, in their own units.

    Args:
        eval_sets: as for :class:`ValueSuite`, as are the following.
        outputs: values to predict.
        models: names of models.
        averages: names of averages.
        before: predictor of untrained models.
        cutoff: as for :class:`tracer_lightning.evaluation.value_metrics.MapMetrics`.
        separation: likewise.
    """

    metrics = (
        Metric("relative_l2", "relative L2", "rel. L2", better="lower", percent=False),
        Metric("mae", "MAE", "MAE", better="lower", percent=False),
        Metric("rmse", "RMSE", "RMSE", better="lower", percent=False, shown=False),
    )

    def __init__(
        self,
        eval_sets: Sequence[EvalSet],
        outputs: TargetSpec,
        models: Sequence[str] = ("student",),
        averages: Mapping[str, Sequence[str]] | None = None,
        before: nn.Module | None = None,
        cutoff: float | None = None,
        separation: int | None = None,
    ) -> None:
        self._cutoff, self._separation = cutoff, separation
        super().__init__(eval_sets, outputs, models, averages, before)

    def settings(self) -> dict[str, Any]:
        """Pixels that count in the MAE."""
        return {"cutoff": self._cutoff, "separation": self._separation}

    def make_metrics(self, outputs: TargetSpec) -> ValueMetrics:
        """See :class:`tracer_lightning.evaluation.value_metrics.MapMetrics`."""
        return MapMetrics(self._cutoff, self._separation)


class MaskSuite(ValueSuite):
    """Masks, whose pixels are ranked by their logits."""

    metrics = (
        Metric("auroc_error", "1 - AUROC", "1-AUROC", better="lower"),
        Metric("pixel_error", "pixel error", "error", better="lower"),
    )

    def make_metrics(self, outputs: TargetSpec) -> ValueMetrics:
        """See :class:`tracer_lightning.evaluation.value_metrics.MaskMetrics`."""
        return MaskMetrics()
