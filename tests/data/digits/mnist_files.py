"""MNIST's four files, small."""

import struct
from pathlib import Path

import numpy as np

TRAIN, TEST = 1_200, 30


def idx(values):
    """What MNIST's files are: a magic number, sizes, bytes."""
    values = np.asarray(values, dtype=np.uint8)
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def contents():
    """Random images by the names of their files."""
    rng = np.random.default_rng(0)
    found = {}
    for name, count in (("train", TRAIN), ("t10k", TEST)):
        found[f"{name}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (count, 28, 28)))
        found[f"{name}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return found


def write(root):
    """Below a folder, where torchvision looks for them."""
    folder = Path(root) / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in contents().items():
        (folder / name).write_bytes(content)
