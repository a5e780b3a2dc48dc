"""Small versions of MNIST's four files."""

import struct
from pathlib import Path

import numpy as np

TRAIN, TEST = 1_200, 30


def idx(values):
    """Encode values in MNIST's file format: a magic number, sizes, bytes."""
    values = np.asarray(values, dtype=np.uint8)
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def contents():
    """Random images and labels as file contents by file name."""
    rng = np.random.default_rng(0)
    files = {}
    for name, count in (("train", TRAIN), ("t10k", TEST)):
        files[f"{name}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (count, 28, 28)))
        files[f"{name}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files


def write(root):
    """Write the files below a folder where torchvision expects them."""
    folder = Path(root) / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in contents().items():
        (folder / name).write_bytes(content)
