"""Data of the toy experiment: plain digits, and coloured digits labelled by colour or digit."""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor
from torchvision.datasets import MNIST

from tracer_lightning.data.digits.datamodule import TensorSource
from tracer_lightning.data.digits.styles import CLASSES, Split, load_splits
from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.types import EvalSet, InputSpec

SIZE = 28
DIGIT_SIZE = 20
"""Width in pixels of the centred box that MNIST's digits fill."""
COLOURS = ("red digit", "blue digit")
HUES = np.array([(1, 0, 0), (0, 0, 1)])
"""(2, 3) RGB values of ``COLOURS``."""
TEMPLATES = ("a photo of a {c}.", "a handwritten {c}.", "a drawing of a {c}.", "this is a {c}.")
VALIDATION = 1_000
"""Number of MNIST's training images that are held out for validation."""
Task = Literal["plain", "coloured"]
TASKS: tuple[Task, ...] = ("plain", "coloured")
Attribute = Literal["colour", "digit"]
NAMES: dict[Attribute, tuple[str, ...]] = {"colour": COLOURS, "digit": CLASSES}
"""Class names by the attribute of a coloured digit that is classified."""


def draw_colours(labels: np.ndarray, correlation: float, seed: int) -> np.ndarray:
    """Draw red (0) mostly for digits below five, and blue (1) mostly for the others.

    Args:
        labels: (N,) digits.
        correlation: probability in [0, 1] that a digit has its group's colour.
        seed: equal seeds give equal colours.

    Returns:
        (N,) colours, 0 or 1.
    """
    agrees = np.random.default_rng(seed).random(len(labels)) < correlation
    colours: np.ndarray = ((labels < 5) != agrees).astype(np.int64)
    return colours


@cache
def embedded_digits() -> dict[str, Split]:
    """Load scikit-learn's digits by split, scaled and centred like MNIST's: ink coverage (N, 28, 28)."""
    splits = {}
    for name, (images, labels) in load_splits().items():
        scaled = F.interpolate(torch.from_numpy(images)[:, None], size=DIGIT_SIZE, mode="bicubic").clamp(0, 1)
        splits[name] = Split(F.pad(scaled, [(SIZE - DIGIT_SIZE) // 2] * 4)[:, 0].numpy(), labels)
    return splits


def _load_mnist(root: str) -> list[MNIST]:
    return [MNIST(root, train=train) for train in (True, False)]


def _load_or_download_mnist(root: str) -> list[MNIST]:
    try:
        return _load_mnist(root)
    except RuntimeError:  # the files are missing
        Path(root).mkdir(parents=True, exist_ok=True)
        with FileLock(Path(root, "mnist.lock")):
            MNIST(root, download=True)
        return _load_mnist(root)


@cache
def mnist_digits(root: str, download: bool) -> dict[str, Split]:
    """Load MNIST (LeCun et al., 1998) by split: train and val from its training file; ink coverage (N, 28, 28).

    Args:
        root: folder that contains ``MNIST/raw``.
        download: whether missing files are downloaded; the other processes of a machine wait for the first one.

    Raises:
        ValueError: the files are missing or damaged, and were not downloaded.
    """
    try:
        datasets = _load_or_download_mnist(root) if download else _load_mnist(root)
    except (OSError, RuntimeError, AssertionError, EOFError, ValueError, UnpicklingError) as error:
        reason = " ".join(str(error).split()) or "its files are damaged"
        advice = "" if download else "; set download to True, or root to the folder that contains MNIST/raw"
        raise ValueError(f"root={root}: MNIST can't be loaded from there ({reason}){advice}") from error
    (images, labels), test = ((dataset.data.numpy() / np.float32(255), dataset.targets.numpy()) for dataset in datasets)
    from sklearn.model_selection import train_test_split  # imported late: every command imports this module

    train, val = train_test_split(np.arange(len(labels)), test_size=VALIDATION, stratify=labels, random_state=0)
    return {"train": Split(images[train], labels[train]), "val": Split(images[val], labels[val]), "test": Split(*test)}


class ColouredDigitsDataModule(ClipDataModule):
    """Training data of one of two tasks and test sets of both: the toy experiment of TRACER (section 5.1).

    The original task, ``plain``, is to classify white digits on black. The new task, ``coloured``, is to classify the
    colour of digits, mostly red below five and mostly blue otherwise, or the digit itself, which correlates with its
    colour. The test set of the trained task is ID, the other one OOD. The digits are scikit-learn's.

    Args:
        spec: input specification of the model; images are 28 x 28.
        task: task to train on.
        correlation: probability that a coloured digit has its group's colour.
        label: attribute of coloured digits to classify, ``colour`` or ``digit``.
        desaturation: 1 minus the saturation (HSV) of the colours: brightness of the two channels that are not the
            colour's own, relative to its own channel.
        loading: arguments of :class:`ClipDataModule`: ``batch_size``, ``eval_batch_size``, ``num_workers``, ``seed``
            (which does not affect the colours), ``max_bad_fraction`` and ``shots``.
    """

    templates = TEMPLATES

    def __init__(
        self,
        spec: InputSpec,
        task: Task,
        correlation: float,
        label: Attribute = "colour",
        desaturation: float = 0.0,
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        for name, value in (("correlation", correlation), ("desaturation", desaturation)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        if spec.image_size != SIZE:
            raise ValueError(
                f"spec.image_size must be {SIZE} for these digits, got {spec.image_size}; choose another backbone"
            )
        if task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
        if label not in NAMES:
            raise ValueError(f"label must be one of {', '.join(NAMES)}, got {label!r}")
        self.task, self.correlation, self.label, self.desaturation = task, correlation, label, desaturation
        self.classnames = tuple(dict.fromkeys((*CLASSES, *NAMES[label])))
        self.eval_sets = tuple(self._eval_set(name, "test") for name in sorted(TASKS, key=lambda name: name != task))
        self.val_set = self._eval_set(task, "val")

    def _classes_of(self, task: str) -> list[int]:
        """Indices in ``classnames`` of the classes of a task."""
        return [self.classnames.index(name) for name in (CLASSES if task == "plain" else NAMES[self.label])]

    def _eval_set(self, task: Task, split: str) -> EvalSet:
        role = "id" if task == self.task else "ood"
        classes = tuple((number,) for number in self._classes_of(task))
        return EvalSet(task, split, role, classes, zero_shot=task != self.task)

    def digits(self) -> dict[str, Split]:
        """Ink coverage and labels of the digits by split."""
        return embedded_digits()

    def train_source(self) -> TensorSource:
        """Training images of the task, labelled by index in ``classnames``."""
        images, labels = self._draw("train", self.task)
        return TensorSource(images, np.array(self._classes_of(self.task))[labels].tolist())

    def eval_source(self, eval_set: EvalSet) -> TensorSource:
        """Images of an evaluation set, labelled among the classes of its task."""
        images, labels = self._draw(eval_set.split, eval_set.name)
        return TensorSource(images, labels.tolist())

    def _draw(self, split: str, task: str) -> tuple[Tensor, np.ndarray]:
        """Draw images (N, 3, H, W) uint8, with labels (N,) among the classes of the task."""
        images, labels = self.digits()[split]  # (N, H, W), (N,)
        ink = np.ones((1, 3))
        if task == "coloured":
            colours = draw_colours(labels, self.correlation, zlib.crc32(split.encode()))
            ink = np.maximum(HUES[colours], self.desaturation)
            labels = colours if self.label == "colour" else labels
        pixels = (255 * images[:, None] * ink[:, :, None, None]).round().astype(np.uint8)
        return torch.from_numpy(pixels), labels


class ColouredMNISTDataModule(ColouredDigitsDataModule):
    """Variant of :class:`ColouredDigitsDataModule` with MNIST's digits.

    Args:
        spec: input specification of the model; images are 28 x 28.
        root: folder that contains ``MNIST/raw``.
        download: whether missing files are downloaded.
        options: arguments of :class:`ColouredDigitsDataModule`.
    """

    def __init__(self, spec: InputSpec, root: str, download: bool, **options: Any) -> None:
        super().__init__(spec, **options)
        self.root, self.download = root, download

    def digits(self) -> dict[str, Split]:
        """Ink coverage and labels of MNIST's digits by split."""
        return mnist_digits(self.root, self.download)
