"""Students of known trajectories."""

import numpy as np
import torch
from torch import nn


class Student(nn.Module):
    """Trained and frozen parameters, tied ones, batch statistics, a counter and a mask of infinities."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1), persistent=False)

    def forward(self, x):
        return self.norm(self.frozen(self.linear(x))) * self.scale


def walk(student, steps, seed=0):
    """Move the trained parameters at random; yields the step after each move."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        with torch.no_grad():
            for parameter in student.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        yield step


def snapshot(module):
    """Trained parameters in float64."""
    return {
        name: p.detach().numpy().astype(np.float64)
        for name, p in module.named_parameters()
        if not name.startswith("frozen")
    }


def closed_form(snapshots, weights):
    """The weighted mean of snapshots."""
    total = sum(weights)
    return {name: sum(w * s[name] for w, s in zip(weights, snapshots, strict=True)) / total for name in snapshots[0]}
