"""Images that were forgotten or learned, and saliency maps of the models."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from tracer_lightning.evaluation.changes import FORGOTTEN, LEARNED, Changed, SetChanges
from tracer_lightning.evaluation.logits import Classifier, padded
from tracer_lightning.evaluation.saliency import Maps
from tracer_lightning.reporting.style import style
from tracer_lightning.scores import ROLE_TITLES
from tracer_lightning.types import EvalSet, InputSpec

KINDS = {FORGOTTEN: "was right, is wrong", LEARNED: "was wrong, is right"}
MIN_SIZE = 96
"""Height and width in pixels below which images are enlarged by an integer factor."""
GAP = 4
"""Number of white pixels between an image and its maps."""
HEAT = 0.6
"""Opacity of the map's colour where the map is largest."""
MAX_NAME_LENGTH = 22
"""Number of characters of a class name that fit in a caption."""
LABEL, HEADER, CAPTION, SPACING = 1.2, 0.25, 0.34, 0.08
"""Inches of a figure for the names of datasets, the titles, the captions, and the space between cells."""
Pixels = NDArray[np.uint8]


class ShownSample(NamedTuple):
    """A changed sample with the images to show."""

    changed: Changed
    panels: list[Pixels]
    """The image (H, W, 3) and, with maps, its overlays with the map of the model before and of the one after."""

    def captions(self, names: Sequence[str]) -> tuple[str, str]:
        """Predicted class and probability of each model."""
        predictions = self.changed.before, self.changed.after
        before, after = (f"{shorten(names[each.label])} {100 * each.probability:.0f} %" for each in predictions)
        return before, after


def shorten(name: str, length: int = MAX_NAME_LENGTH) -> str:
    """Shorten a text, by default a class name so that it fits in a caption."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def to_pixels(image: Tensor, spec: InputSpec) -> Pixels:
    """Convert a normalised image (3, H, W) to pixels (H, W, 3), enlarging small images without smoothing."""
    mean, std = (torch.tensor(channels)[:, None, None] for channels in (spec.mean, spec.std))
    values = ((image * std + mean).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return enlarge(values)


def enlarge(pixels: Pixels) -> Pixels:
    """Enlarge a small image (H, W, 3) by an integer factor, without smoothing."""
    factor = -(-MIN_SIZE // min(pixels.shape[:2]))
    enlarged: Pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    return enlarged


def overlay(image: Pixels, saliency: Tensor) -> Pixels:
    """Overlay an image (H, W, 3) in grey with a map (h, w), which is scaled so that its minimum is transparent."""
    smallest, largest = saliency.min(), saliency.max()
    relative = (saliency - smallest) / (largest - smallest).clamp(min=torch.finfo(saliency.dtype).tiny)
    height, width = image.shape[:2]
    heat = F.interpolate(relative[None, None], (height, width), mode="bilinear")[0, 0].numpy()  # (H, W)
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    colour = 255 * mpl.colormaps["inferno"](heat)[:, :, :3]
    opacity = HEAT * heat[:, :, None] ** 0.5
    mixed: Pixels = ((1 - opacity) * grey + opacity * colour).round().astype(np.uint8)
    return mixed


def _differentiable_copy(model: Classifier, copied_model: Any = None) -> Classifier:
    """Copy in single precision and eval mode without inference tensors, so that gradients work even after a test.

    Args:
        model: model and head to copy.
        copied_model: such a copy of the model, if there is one.
    """
    with torch.inference_mode(False):
        copied = copy.copy(model)
        copied.model = copy.deepcopy(model.model).float().eval() if copied_model is None else copied_model
        device = next(copied.model.parameters()).device
        copied.head = None if model.head is None else model.head.clone().to(device, torch.float32)
    return copied


def _saliency(model: Classifier, maps: Maps, columns: Tensor | None, images: Tensor, classes: list[int]) -> Tensor:
    """Saliency maps (B, h, w) of these classes in images (B, 3, H, W), on the CPU."""
    device = next(model.model.parameters()).device
    columns = None if columns is None else columns.to(device)
    with torch.inference_mode(False):
        labels = torch.tensor(classes, device=device)
        inputs = images.clone().to(device)
        return maps(model.model.model.visual, lambda batch: model(batch, columns), inputs, labels).cpu()


def collect_samples(
    changes: Mapping[str, SetChanges],
    sets: Sequence[EvalSet],
    spec: InputSpec,
    models: Mapping[str, tuple[Classifier, Classifier]],
    maps: Maps | None,
) -> dict[str, dict[str, list[ShownSample]]]:
    """Samples to show by dataset and kind of change.

    Args:
        changes: changes by dataset.
        sets: the evaluation sets.
        spec: input specification of both models.
        models: models before and after by dataset, with the head that each was tested with there.
        maps: computes the map of the class that each model predicts; None for images without maps.
    """
    samples = {
        name: {
            kind: [ShownSample(changed, [to_pixels(changed.image, spec)]) for changed in kept]
            for kind, kept in set_changes.images.items()
        }
        for name, set_changes in changes.items()
    }
    for number in range(2 if maps is not None else 0):
        assert maps is not None
        copied: Classifier | None = None
        for eval_set in sets:
            columns = None if eval_set.classes is None else padded(eval_set.classes)
            set_samples = [sample for kind in samples[eval_set.name].values() for sample in kind]
            if set_samples:
                copied = _differentiable_copy(models[eval_set.name][number], copied and copied.model)
                images = torch.stack([sample.changed.image for sample in set_samples])
                classes = [(sample.changed.before, sample.changed.after)[number].label for sample in set_samples]
                saliencies = _saliency(copied, maps, columns, images, classes)
                for sample, saliency in zip(set_samples, saliencies, strict=True):
                    sample.panels.append(overlay(sample.panels[0], saliency))
    return samples


def side_by_side(panels: Sequence[Pixels]) -> Pixels:
    """Join images (H, W, 3) to one (H, W', 3), separated by white gaps."""
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    joined: list[Pixels] = [panels[0]]
    for panel in panels[1:]:
        joined += [gap, panel]
    return np.concatenate(joined, axis=1)


def _title(eval_set: EvalSet, counts: Mapping[str, int]) -> str:
    changed = f"−{counts[FORGOTTEN]}  +{counts[LEARNED]}"
    role = ROLE_TITLES.get(eval_set.role, eval_set.role.upper())
    return f"{eval_set.name} ({role})\n{changed}\nof {sum(counts.values()):,}"


def draw_changes(
    sets: Sequence[EvalSet],
    counts: Mapping[str, Mapping[str, int]],
    samples: Mapping[str, Mapping[str, Sequence[ShownSample]]],
    names: Mapping[str, Sequence[str]],
    maps: bool,
) -> Figure:
    """Draw a row for each dataset, with forgotten images on the left and learned ones on the right.

    Args:
        sets: datasets to draw.
        counts: numbers of changed and unchanged samples by dataset.
        samples: samples by dataset and kind of change.
        names: names of the classes by dataset.
        maps: whether to draw the maps of both models beside each image.
    """
    most = max((len(kept) for kinds in samples.values() for kept in kinds.values()), default=0) or 1
    width, height = (1.95, 0.65) if maps else (0.9, 0.9)  # of a cell, in inches
    half, row = most * (width + SPACING), height + CAPTION
    size = LABEL + 2 * half + SPACING, HEADER + len(sets) * row
    with style():
        figure = Figure(figsize=size)
        for side, (kind, title) in enumerate(KINDS.items()):
            left = LABEL + side * (half + SPACING)
            figure.text((left + half / 2) / size[0], 1 - 0.12 / size[1], title, ha="center", va="center", fontsize=10)
            for number, eval_set in enumerate(sets):
                bottom = size[1] - HEADER - (number + 1) * row + 0.04
                for column, sample in enumerate(samples[eval_set.name][kind]):
                    x = left + column * (width + SPACING)
                    axes = figure.add_axes((x / size[0], bottom / size[1], width / size[0], height / size[1]))
                    axes.imshow(side_by_side(sample.panels if maps else sample.panels[:1]))
                    axes.axis("off")
                    before, after = sample.captions(names[eval_set.name])
                    axes.set_title(f"{before}\n$\\to$ {after}", fontsize=6.5, pad=2)
        for number, eval_set in enumerate(sets):
            middle = size[1] - HEADER - (number + 1) * row + 0.04 + height / 2
            label = _title(eval_set, counts[eval_set.name])
            figure.text((LABEL - 0.1) / size[0], middle / size[1], label, ha="right", va="center", fontsize=7)
    return figure
