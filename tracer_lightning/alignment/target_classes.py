"""Classes of target samples in stage 1: those of the data, or clusters of the values to predict."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tracer_lightning.data import ClipDataModule

MOST_VALUES = 4096
"""Greatest number of values of a sample that are clustered; of more, evenly spaced ones."""


class TargetClasses(NamedTuple):
    """Classes of the training samples of the target modality."""

    size: int
    """Number C of classes."""
    labels: Tensor | None = None
    """(N,) clusters of the training samples; None where samples have classes of their own."""
    values: Tensor | None = None
    """(C, ...) mean values of each cluster; None where samples have classes of their own."""


def target_classes(data: ClipDataModule, clusters: int, seed: int) -> TargetClasses:
    """Classes of a data module's training samples.

    Values to predict are flattened and clustered by k-means, as in the released codes of ORCA and RECRAFT.

    Args:
        data: data module of the target modality.
        clusters: greatest number of clusters.
        seed: seed of k-means.
    """
    targets = data.training_targets()
    if targets is None:
        return TargetClasses(len(data.classnames))
    from sklearn.cluster import KMeans  # which takes a second to import
    from sklearn.exceptions import ConvergenceWarning

    rows = targets.flatten(1)
    columns = np.linspace(0, rows.shape[1] - 1, min(MOST_VALUES, rows.shape[1])).round().astype(np.int64)
    chosen = rows[:, columns]
    chosen = torch.where(chosen.isnan(), chosen.nanmean(dim=0).nan_to_num(), chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where there are fewer distinct values than clusters
        fitted = KMeans(min(clusters, len(rows)), n_init=1, random_state=seed).fit_predict(chosen.numpy())
    clusters_used, labels = torch.from_numpy(fitted).long().unique(return_inverse=True)  # type: ignore[no-untyped-call]
    means = [targets[labels == number].nanmean(dim=0).nan_to_num() for number in range(len(clusters_used))]
    return TargetClasses(len(clusters_used), labels, torch.stack(means))
