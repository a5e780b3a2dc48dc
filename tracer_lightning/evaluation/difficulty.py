"""How hard a data set is for a model before it is fine-tuned, told from its features alone.

The silhouette score that was published as a measure of difficulty is of images and texts together, and most likely has
their modality as clusters: high values mean a wide gap between images and texts, and a harder task. With classes as
clusters, the other reading, the sign is the opposite: high values mean classes well apart, and an easier task. Here
both are of the same points. IIMM is that of Niss et al. (ICCV 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from sklearn.metrics import silhouette_score
from torch import Tensor

from tracer_lightning.evaluation.logits import padded

SAMPLE = 5_000
"""Images that silhouettes are taken of, at most: they compare every point with every other."""
CHUNK = 4096
"""Images compared with all texts at once."""
Numbers = dict[str, float | None]
"""``n``, ``accuracy``, ``silhouette_by_modality``, ``silhouette_by_class``, ``correct_pair_cosine`` and ``iimm``."""


class Labelled(NamedTuple):
    """The features of a data set in double precision."""

    images: Tensor
    """(N, D), normalised."""
    labels: Tensor
    """(N,) label of each image."""
    texts: Tensor
    """(C, D), normalised: one vector for each class of training, that of the zero-shot head."""
    groups: Sequence[Sequence[int]]
    """C' labels to the classes that each covers."""

    @property
    def covers(self) -> Tensor:
        """(C', C): whether the label covers the class."""
        covers = torch.zeros(len(self.groups), len(self.texts), dtype=torch.bool)
        for label, group in enumerate(self.groups):
            covers[label, list(group)] = True
        return covers


def labelled(images: Tensor, labels: Tensor, texts: Tensor, classes: Sequence[Sequence[int]] | None = None) -> Labelled:
    """Features to take the numbers of.

    Args:
        images: (N, D) normalised features.
        labels: (N,) labels.
        texts: (C, D) normalised features, one for each class of training.
        classes: as in :class:`tracer_lightning.types.EvalSet`; None where the labels are the classes of training.

    Raises:
        ValueError: there are no images, or features are not finite.
    """
    if not len(images):
        raise ValueError("there are no images; is the set empty, or can't any of them be read?")
    if not (images.isfinite().all() and texts.isfinite().all()):
        raise ValueError("the model's features are not finite; choose another checkpoint")
    groups = classes or [(number,) for number in range(len(texts))]
    return Labelled(images.double(), labels, texts.double(), groups)


def correct_pairs(features: Labelled) -> tuple[float, float]:
    """Zero-shot accuracy, and the mean cosine between images and the texts of their own labels (ACS).

    The text of a label that covers several classes is that which matches the image best.
    """
    columns, right, total = padded(features.groups), 0, 0.0
    for images, labels in zip(features.images.split(CHUNK), features.labels.split(CHUNK), strict=True):  # type: ignore[no-untyped-call]
        cosines = (images @ features.texts.T)[:, columns].amax(dim=-1)  # (B, C', K) to (B, C')
        right += int((cosines.argmax(dim=-1) == labels).sum())
        total += float(cosines.gather(1, labels[:, None]).sum())
    return right / len(features.images), total / len(features.images)


def mean_pairwise_cosine(features: Tensor) -> float | None:
    """Mean cosine of all pairs of different rows of (N, D) normalised features; None where there is no pair.

    In closed form: the square of the sum is the sum of all products, those of a row with itself among them.
    """
    n, total = len(features), features.sum(dim=0)
    return None if n < 2 else float((total @ total - features.square().sum()) / (n * (n - 1)))


def wrong_pair_cosine(features: Labelled) -> float | None:
    """Mean over images of the mean cosine to the texts of other labels; None where there is no other label.

    The texts of other labels are those of all classes that some label of the data set covers, but not the image's.
    """
    wrong = features.covers.any(dim=0) & ~features.covers  # (C', C)
    counts = wrong.sum(dim=1, keepdim=True)
    if not counts[features.labels].all():
        return None
    means = wrong.double() @ features.texts / counts.clamp(min=1)  # (C', D): the mean is linear, so are cosines in it
    return float((features.images * means[features.labels]).sum(dim=1).mean())


def iimm(features: Labelled) -> float | None:
    """Inter-intra modal measure: the mean of :func:`wrong_pair_cosine` and :func:`mean_pairwise_cosine` of the images.

    None where one of them is undefined.
    """
    wrong, pairs = wrong_pair_cosine(features), mean_pairwise_cosine(features.images)
    return None if wrong is None or pairs is None else (wrong + pairs) / 2


def silhouettes(features: Labelled, seed: int = 0) -> tuple[float | None, float | None]:
    """Mean silhouette coefficients in cosine distance, by modality and by class, of the same points.

    The points are the images, or ``SAMPLE`` of them at random, and one text for each class that the data set's labels
    cover. By modality the clusters are images and texts. By class they are the labels: an image has its own, a text
    that which covers its class. Each point counts the same, so that few texts among many images hardly count
    themselves. A text that is alone in its cluster counts 0, as scikit-learn has it.

    Args:
        features: features of a data set.
        seed: of the sample.

    Returns:
        Both in [-1, 1]. By modality it is None where there are just one image and one text, by class where all
        images have one label.
    """
    chosen = torch.randperm(len(features.images), generator=torch.Generator().manual_seed(seed))[:SAMPLE].sort().values
    covered = features.covers.any(dim=0)
    points = torch.cat([features.images[chosen], features.texts[covered]])
    is_text = torch.arange(len(points)) >= len(chosen)
    labels = torch.cat([features.labels[chosen], features.covers.byte().argmax(dim=0)[covered]])
    several = bool((features.labels[chosen] != features.labels[chosen[0]]).any())
    return (_silhouette(points, is_text) if len(points) > 2 else None, _silhouette(points, labels) if several else None)


def _silhouette(points: Tensor, clusters: Tensor) -> float:
    return float(silhouette_score(points.numpy(), clusters.numpy(), metric="cosine"))


def difficulty(features: Labelled, seed: int = 0) -> Numbers:
    """All numbers of a data set; None stands for those that are undefined.

    Args:
        features: features of the data set.
        seed: of the sample that silhouettes are taken of.
    """
    accuracy, cosine = correct_pairs(features)
    by_modality, by_class = silhouettes(features, seed)
    return {
        "n": len(features.images),
        "accuracy": accuracy,
        "silhouette_by_modality": by_modality,
        "silhouette_by_class": by_class,
        "correct_pair_cosine": cosine,
        "iimm": iimm(features),
    }
