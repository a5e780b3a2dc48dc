"""Pictures that were forgotten or learned, and where the models looked."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
from tracer_lightning.types import EvalSet, InputSpec

KINDS = {FORGOTTEN: "was right, is wrong", LEARNED: "was wrong, is right"}
SMALLEST = 96
"""Pixels: smaller pictures are enlarged by a whole factor."""
GAP = 4
"""White pixels between a picture and its maps."""
HEAT = 0.6
"""Share of the map's colour where the map is largest."""
LONGEST = 22
"""Letters of a class name that fit in a caption."""
LABEL, HEADER, CAPTION, APART = 1.2, 0.25, 0.34, 0.08
"""Inches of a figure for the names of data sets, the titles, and the captions, and between cells."""
Pixels = NDArray[np.uint8]


class Shown(NamedTuple):
    """A picture to show."""

    changed: Changed
    panels: list[Pixels]
    """The picture (H, W, 3) and, where there are maps, it with the map of the model before and of that after."""

    def captions(self, names: Sequence[str]) -> tuple[str, str]:
        """What each model said of it."""
        judged = self.changed.before, self.changed.after
        before, after = (f"{short(names[one.label])} {100 * one.probability:.0f} %" for one in judged)
        return before, after


def short(name: str) -> str:
    """A class name that fits in a caption."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def pixels(image: Tensor, spec: InputSpec) -> Pixels:
    """(H, W, 3) of a normalised picture (3, H, W), small ones enlarged without smoothing."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    plain = ((image * std + mean).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    factor = -(-SMALLEST // min(plain.shape[:2]))
    enlarged: Pixels = plain.repeat(factor, axis=0).repeat(factor, axis=1)
    return enlarged


def overlay(picture: Pixels, saliency: Tensor) -> Pixels:
    """The picture (H, W, 3) in grey with a map (h, w) over it, from its own least (nothing) to its greatest value."""
    least, greatest = saliency.min(), saliency.max()
    relative = (saliency - least) / (greatest - least).clamp(min=torch.finfo(saliency.dtype).tiny)
    height, width = picture.shape[:2]
    heat = F.interpolate(relative[None, None], (height, width), mode="bilinear")[0, 0].numpy()  # (H, W)
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    colour = 255 * mpl.colormaps["inferno"](heat)[:, :, :3]
    share = HEAT * heat[:, :, None] ** 0.5
    mixed: Pixels = ((1 - share) * grey + share * colour).round().astype(np.uint8)
    return mixed


def _explaining(model: Classifier) -> Classifier:
    """A copy in single precision and eval mode, of tensors that gradients may be taken with even after a test."""
    with torch.inference_mode(False):
        copied = copy.copy(model)
        copied.model = copy.deepcopy(model.model).float().eval()
        device = next(copied.model.parameters()).device
        copied.head = None if model.head is None else model.head.clone().to(device, torch.float32)
    return copied


def _explained(model: Classifier, maps: Maps, columns: Tensor | None, images: Tensor, classes: list[int]) -> Tensor:
    """Maps (B, h, w) of what speaks for these classes in images (B, 3, H, W), on the processor."""
    device = next(model.model.parameters()).device
    columns = None if columns is None else columns.to(device)
    with torch.inference_mode(False):
        asked = torch.tensor(classes, device=device)
        pictures = images.clone().to(device)
        return maps(model.model.model.visual, lambda of: model(of, columns), pictures, asked).cpu()


def show(
    changes: Mapping[str, SetChanges],
    sets: Sequence[EvalSet],
    spec: InputSpec,
    models: Sequence[Classifier],
    maps: Maps | None,
) -> dict[str, dict[str, list[Shown]]]:
    """What is shown, by data set and kind.

    Args:
        changes: by data set.
        sets: the data sets.
        spec: of the inputs of both models.
        models: before and after.
        maps: explains the class that each model predicts; None for pictures alone.
    """
    shown = {
        name: {kind: [Shown(one, [pixels(one.image, spec)]) for one in found] for kind, found in of.pictures.items()}
        for name, of in changes.items()
    }
    for place, model in enumerate(models if maps is not None else ()):
        assert maps is not None
        copied = _explaining(model)
        for eval_set in sets:
            columns = None if eval_set.classes is None else padded(eval_set.classes)
            found = [one for kind in shown[eval_set.name].values() for one in kind]
            if found:
                images = torch.stack([one.changed.image for one in found])
                classes = [(one.changed.before, one.changed.after)[place].label for one in found]
                for one, saliency in zip(found, _explained(copied, maps, columns, images, classes), strict=True):
                    one.panels.append(overlay(one.panels[0], saliency))
    return shown


def side_by_side(panels: Sequence[Pixels]) -> Pixels:
    """One picture (H, W', 3) of several (H, W, 3)."""
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    joined: list[Pixels] = [panels[0]]
    for panel in panels[1:]:
        joined += [gap, panel]
    return np.concatenate(joined, axis=1)


def _title(eval_set: EvalSet, counts: Mapping[str, int]) -> str:
    changed = f"−{counts[FORGOTTEN]}  +{counts[LEARNED]}"
    return f"{eval_set.name} ({eval_set.role.upper()})\n{changed}\nof {sum(counts.values()):,}"


def figure(
    sets: Sequence[EvalSet],
    counts: Mapping[str, Mapping[str, int]],
    shown: Mapping[str, Mapping[str, Sequence[Shown]]],
    names: Mapping[str, Sequence[str]],
    maps: bool,
) -> Figure:
    """A row for each data set: pictures that were forgotten on the left, learned ones on the right.

    Args:
        sets: data sets to draw.
        counts: of each.
        shown: by data set and kind.
        names: of the labels of each.
        maps: draw the maps of both models beside each picture, too.
    """
    most = max((len(found) for of in shown.values() for found in of.values()), default=0) or 1
    width, height = (1.95, 0.65) if maps else (0.9, 0.9)  # of a cell, in inches
    half, row = most * (width + APART), height + CAPTION
    size = LABEL + 2 * half + APART, HEADER + len(sets) * row
    with style():
        drawn = Figure(figsize=size)
        for side, (kind, title) in enumerate(KINDS.items()):
            left = LABEL + side * (half + APART)
            drawn.text((left + half / 2) / size[0], 1 - 0.12 / size[1], title, ha="center", va="center", fontsize=10)
            for place, eval_set in enumerate(sets):
                bottom = size[1] - HEADER - (place + 1) * row + 0.04
                for column, one in enumerate(shown[eval_set.name][kind]):
                    x = left + column * (width + APART)
                    axes = drawn.add_axes((x / size[0], bottom / size[1], width / size[0], height / size[1]))
                    axes.imshow(side_by_side(one.panels if maps else one.panels[:1]))
                    axes.axis("off")
                    before, after = one.captions(names[eval_set.name])
                    axes.set_title(f"{before}\n$\\to$ {after}", fontsize=6.5, pad=2)
        for place, eval_set in enumerate(sets):
            middle = size[1] - HEADER - (place + 1) * row + 0.04 + height / 2
            label = _title(eval_set, counts[eval_set.name])
            drawn.text((LABEL - 0.1) / size[0], middle / size[1], label, ha="right", va="center", fontsize=7)
    return drawn
