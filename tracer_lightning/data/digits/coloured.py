"""The toy experiment's data: plain digits to name, and coloured ones whose colour is to be named."""

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
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision.datasets import MNIST

from tracer_lightning.data.digits.datamodule import TensorSource
from tracer_lightning.data.digits.styles import CLASSES, Split, load_splits
from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.types import EvalSet, InputSpec

SIZE = 28
DIGIT_SIZE = 20
"""MNIST's digits fill a box of this width in the middle."""
COLOURS = ("red digit", "blue digit")
HUES = np.array([(1, 0, 0), (0, 0, 1)])
"""(2, 3), of those names."""
TEMPLATES = ("a photo of a {c}.", "a handwritten {c}.", "a drawing of a {c}.", "this is a {c}.")
VALIDATION = 1_000
"""Images of MNIST's training file that are kept for validation."""
Task = Literal["plain", "coloured"]
TASKS: tuple[Task, ...] = ("plain", "coloured")
Asked = Literal["colour", "digit"]
NAMES: dict[Asked, tuple[str, ...]] = {"colour": COLOURS, "digit": CLASSES}
"""What is to be named of a coloured digit, and the names to choose from."""


def draw_colours(labels: np.ndarray, tied: float, seed: int) -> np.ndarray:
    """Red (0) for digits below five and blue (1) from five, or, for some, the other of the two.

    Args:
        labels: digits (N,).
        tied: chance of a digit to have its group's colour, in [0, 1].
        seed: equal seeds, equal colours.

    Returns:
        (N,) of 0 and 1.
    """
    kept = np.random.default_rng(seed).random(len(labels)) < tied
    colours: np.ndarray = ((labels < 5) != kept).astype(np.int64)
    return colours


@cache
def embedded_digits() -> dict[str, Split]:
    """Scikit-learn's digits, scaled to where MNIST has them: coverage (N, 28, 28)."""
    splits = {}
    for name, (images, labels) in load_splits().items():
        scaled = F.interpolate(torch.from_numpy(images)[:, None], size=DIGIT_SIZE, mode="bicubic").clamp(0, 1)
        splits[name] = Split(F.pad(scaled, [(SIZE - DIGIT_SIZE) // 2] * 4)[:, 0].numpy(), labels)
    return splits


def _files(root: str) -> list[MNIST]:
    return [MNIST(root, train=train) for train in (True, False)]


def _fetched(root: str) -> list[MNIST]:
    try:
        return _files(root)
    except RuntimeError:  # not there
        Path(root).mkdir(parents=True, exist_ok=True)
        with FileLock(Path(root, "mnist.lock")):
            MNIST(root, download=True)
        return _files(root)


@cache
def mnist_digits(root: str, download: bool) -> dict[str, Split]:
    """MNIST (LeCun et al., 1998): train and val from its training file, test its test file; coverage (N, 28, 28).

    Args:
        root: holds ``MNIST/raw``.
        download: fetch it there if it is not; processes of one machine wait for the first.

    Raises:
        ValueError: it is not there and can't be fetched.
    """
    try:
        files = _fetched(root) if download else _files(root)
    except (OSError, RuntimeError, AssertionError, EOFError, ValueError, UnpicklingError) as error:
        reason = " ".join(str(error).split()) or "its files are damaged"
        advice = "" if download else "; data.download=true fetches it, or set data.root to the folder above MNIST/raw"
        raise ValueError(f"data.root={root}: no MNIST there ({reason}){advice}") from error
    (images, labels), test = ((file.data.numpy() / np.float32(255), file.targets.numpy()) for file in files)
    train, val = train_test_split(np.arange(len(labels)), test_size=VALIDATION, stratify=labels, random_state=0)
    return {"train": Split(images[train], labels[train]), "val": Split(images[val], labels[val]), "test": Split(*test)}


class ColouredDigitsDataModule(ClipDataModule):
    """Learn one of two tasks, test both: the toy experiment of TRACER (section 5.1).

    The original task, ``plain``: name digits, white on black. The new one, ``coloured``: name the colour of digits, red
    mostly below five and blue mostly from five, or the digit, which the colour only hints at. The task learned is ID,
    the other OOD. The digits are scikit-learn's.

    Args:
        spec: what the model expects; images are 28 x 28.
        task: what is learned.
        tied: chance of a coloured digit to have its group's colour.
        asks: what is to be named of a coloured digit, ``colour`` or ``digit``.
        faint: brightness of the two channels that are not a coloured digit's own, as a share of that one's.
        loading: of :class:`ClipDataModule`: ``batch_size``, ``eval_batch_size``, ``num_workers``, ``seed`` (not of the
            colours), ``max_bad_fraction`` and ``shots``.
    """

    templates = TEMPLATES

    def __init__(
        self, spec: InputSpec, task: Task, tied: float, asks: Asked = "colour", faint: float = 0.0, **loading: Any
    ) -> None:
        super().__init__(spec, **loading)
        for name, share in (("tied", tied), ("faint", faint)):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"data.{name} must lie in [0, 1], found {share}")
        if spec.image_size != SIZE:
            raise ValueError(f"these digits are {SIZE} pixels wide and the backbone takes {spec.image_size}")
        if task not in TASKS:
            raise ValueError(f"data.task must be one of {', '.join(TASKS)}, found {task!r}")
        if asks not in NAMES:
            raise ValueError(f"data.asks must be one of {', '.join(NAMES)}, found {asks!r}")
        self.task, self.tied, self.asks, self.faint = task, tied, asks, faint
        self.classnames = tuple(dict.fromkeys((*CLASSES, *NAMES[asks])))
        self.eval_sets = tuple(self._eval_set(name, "test") for name in sorted(TASKS, key=lambda name: name != task))
        self.val_set = self._eval_set(task, "val")

    def _choices(self, task: str) -> list[int]:
        """Which of all names a task chooses from."""
        return [self.classnames.index(name) for name in (CLASSES if task == "plain" else NAMES[self.asks])]

    def _eval_set(self, task: Task, split: str) -> EvalSet:
        role = "id" if task == self.task else "ood"
        return EvalSet(task, split, role, tuple((number,) for number in self._choices(task)))

    def digits(self) -> dict[str, Split]:
        """Digits without colour, by split."""
        return embedded_digits()

    def train_source(self) -> TensorSource:
        """The training digits of the task, labelled among all names."""
        images, labels = self._drawn("train", self.task)
        return TensorSource(images, np.array(self._choices(self.task))[labels].tolist())

    def eval_source(self, eval_set: EvalSet) -> TensorSource:
        """The digits of a split for one task."""
        images, labels = self._drawn(eval_set.split, eval_set.name)
        return TensorSource(images, labels.tolist())

    def _drawn(self, split: str, task: str) -> tuple[Tensor, np.ndarray]:
        """Images (N, 3, H, W) uint8 and labels (N,) among the task's own."""
        images, labels = self.digits()[split]  # (N, H, W), (N,)
        ink = np.ones((1, 3))
        if task == "coloured":
            colours = draw_colours(labels, self.tied, zlib.crc32(split.encode()))
            ink = np.maximum(HUES[colours], self.faint)
            labels = colours if self.asks == "colour" else labels
        pixels = (255 * images[:, None] * ink[:, :, None, None]).round().astype(np.uint8)
        return torch.from_numpy(pixels), labels


class ColouredMNISTDataModule(ColouredDigitsDataModule):
    """The same with MNIST.

    Args:
        spec: what the model expects; images are 28 x 28.
        root: holds ``MNIST/raw``.
        download: fetch it there if it is not.
        options: of :class:`ColouredDigitsDataModule`.
    """

    def __init__(self, spec: InputSpec, root: str, download: bool, **options: Any) -> None:
        super().__init__(spec, **options)
        self.root, self.download = root, download

    def digits(self) -> dict[str, Split]:
        """MNIST's, fetched where they are missing."""
        return mnist_digits(self.root, self.download)
