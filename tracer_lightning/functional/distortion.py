"""What source predictions tell about target labels: entropies in nats, and the predictor that follows from them.

Z is a source class drawn from a prediction p(z | x'), Z' the label of the target sample x'.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-12
"""Probabilities below are taken for it in logarithms."""


def entropy(probabilities: Tensor) -> Tensor:
    """Entropies (...) of distributions (..., S)."""
    return -(probabilities * probabilities.clamp_min(SMALLEST).log()).sum(dim=-1)


def marginal_entropy(probabilities: Tensor) -> Tensor:
    """H(Z) of predictions (N, S), the entropy of their mean.

    It is 0 where all samples are taken for the same source class.
    """
    return entropy(probabilities.mean(dim=0))


def lipschitz_constants(weight: Tensor) -> Tensor:
    """Lipschitz constants (S,) of the class probabilities of a linear classifier, as functions of its input.

    The gradient of p_z is p_z sum_k p_k (w_z - w_k), whose norm is at most p_z (1 - p_z) max_k |w_z - w_k|, and so at
    most a quarter of the greatest distance of two rows.

    Args:
        weight: (S, D) weight.
    """
    return torch.cdist(weight, weight).amax(dim=1) / 4


def joint_distribution(probabilities: Tensor, labels: Tensor, classes: int) -> Tensor:
    """P(Z' = c, Z = z) of a sample.

    Args:
        probabilities: (N, S) predictions.
        labels: (N,) target labels.
        classes: number C of target classes.

    Returns:
        (C, S) probabilities, which sum to 1.
    """
    members = torch.nn.functional.one_hot(labels, classes).to(probabilities.dtype)  # (N, C)
    return members.T @ probabilities / len(labels)


def distortion(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Feature-label distortion H(Z | Z') (RECRAFT; Tran et al., 2026): 0 where each label has one source class.

    Two labels with the same source class count as no distortion, so that a collapse of all samples onto one source
    class minimises it.

    Args:
        probabilities: (N, S) predictions.
        labels: (N,) target labels.
    """
    classes, rows = labels.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    joint = joint_distribution(probabilities, rows, len(classes))
    shares = joint.sum(dim=1)  # (C,)
    return (shares * entropy(joint / shares[:, None])).sum()


def negative_information(probabilities: Tensor, labels: Tensor) -> Tensor:
    """-I(Z; Z') = H(Z | Z') - H(Z), which, unlike :func:`distortion`, no collapse minimises.

    Up to the entropy of the labels it is the bound on the log-loss of the transported predictor.

    Args:
        probabilities: (N, S) predictions.
        labels: (N,) target labels.
    """
    return distortion(probabilities, labels) - marginal_entropy(probabilities)


def label_given_source(joint: Tensor) -> Tensor:
    """P(Z' | Z), (C, S), of a joint distribution (C, S); its columns sum to 1."""
    return joint / joint.sum(dim=0, keepdim=True).clamp_min(SMALLEST)


def transported_log_probabilities(probabilities: Tensor, transition: Tensor) -> Tensor:
    """Predictions of the transported predictor, q(z' | x') = sum_z P(z' | z) p(z | x').

    By Jensen's inequality its log-loss is at most H(Z') - H(Z) + H(Z | Z') on the sample that P(z' | z) is from.

    Args:
        probabilities: (N, S) predictions.
        transition: (C, S) P(Z' | Z).

    Returns:
        (N, C) log q(z' | x').
    """
    return (probabilities @ transition.T).clamp_min(SMALLEST).log()
