"""Small arrays and archives of series."""

import numpy as np

from tests.conftest import tiny_backbone
from tracer_lightning.data import ArrayDataModule, SeriesDataModule

TEXTS = {"classnames": None, "templates": ["class {c}."]}
HELD_OUT = {"fraction": 0.25, "seed": 0}
LOADING = {"batch_size": 4, "eval_batch_size": 5, "num_workers": 0, "seed": 0}
COUNTS = {"train": 12, "test": 9}


def labelled(count, seed, shape=(2, 6), classes=3):
    """Samples (N, *shape), and labels that take turns."""
    samples = np.random.default_rng(seed).normal(5, 3, (count, *shape)).astype(np.float32)
    return samples, np.arange(count) % classes


def arrays(shape=(2, 6), **changed):
    """The arrays of a file; a change of None leaves one out."""
    content = {}
    for seed, (split, count) in enumerate(COUNTS.items()):
        content[f"{split}_x"], content[f"{split}_y"] = labelled(count, seed, shape)
    return {name: array for name, array in (content | changed).items() if array is not None}


def write_npz(path, **changed):
    np.savez(path, **arrays(**changed))
    return path


def write_values(path, task, shape=(1, 4, 3), **changed):
    """Arrays with values to predict; those of maps have the size of the samples."""
    draw = np.random.default_rng(0)
    value_shape = {"multilabel": (2,), "regression": ()}.get(task, shape[1:])
    values = {f"{split}_y": draw.normal(3, 2, (count, *value_shape)) for split, count in COUNTS.items()}
    if task in ("multilabel", "mask"):
        values = {name: value > 3 for name, value in values.items()}
    return write_npz(path, shape=shape, **(values | changed))


def array_data(root, texts=TEXTS, held_out=HELD_OUT, **options):
    return ArrayDataModule(tiny_backbone().spec, str(root), texts, held_out, **(LOADING | options))


HEADER = "#about\n@problemName Toy\n@classLabel true low high\n@data\n"
LINES = {
    "TRAIN": ["0,1,2:5,5,6:low", "9,8,9,7,9:4,4,4,6,4:high", "1,0:5,7:low", "8,9,8:4,5,4:high"],
    "TEST": ["7,7,7,7,7,7:4,5,4,5,4,5:high", "0,1:6,6:low"],
}


def write_archive(root, name="Toy", header=HEADER, **changed):
    """A data set of series in the layout of an archive."""
    (root / name).mkdir(parents=True, exist_ok=True)
    for split, lines in (LINES | changed).items():
        (root / name / f"{name}_{split}.ts").write_text(header + "\n".join(lines) + "\n")
    return root


def series_data(root, name="Toy", texts=TEXTS, held_out=HELD_OUT, **options):
    return SeriesDataModule(tiny_backbone().spec, root and str(root), name, texts, held_out, **(LOADING | options))
