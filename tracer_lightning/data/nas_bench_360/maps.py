"""Tasks that predict a value at each pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tracer_lightning.data.nas_bench_360.part import (
    Part,
    Sample,
    entry,
    existing,
    hold_out,
    of_arrays,
    read_array,
    read_pickle,
)
from tracer_lightning.storage import read_text

DARCY_STEP, DARCY_TRAIN, DARCY_VAL, DARCY_TEST = 5, 900, 100, 100
"""Step of the grid, and numbers of solutions, as in the benchmark."""
CROP, CROP_START = 128, 64
"""Size and start of the window that the benchmark cuts out of an exposure."""
COSMIC_VAL = 0.1
RESIDUES, PROTEIN_VAL = 512, 0.03
"""Most residues of a protein, and share of training proteins that are held out."""
FARTHEST = 16.0
"""Distance, in ångström, that larger ones of training proteins are set to, as in the released code."""
PAIRED, SINGLE = ("ss", "pssm", "sa", "entropy"), ("ccmpred", "freecon", "potential")
"""Features of residues, which are given for the rows and for the columns of a map, and of pairs of residues."""


def read_darcy(source: Path) -> dict[str, Part]:
    """Flow through a porous medium: ``piececonst_r421_N1024_smooth1.mat`` and ``..._smooth2.mat``.

    The channels are the medium's coefficients and the two coordinates.
    """
    coefficients, solutions = _solutions(source / "piececonst_r421_N1024_smooth1.mat")
    test = _solutions(source / "piececonst_r421_N1024_smooth2.mat")
    path = source / "piececonst_r421_N1024_smooth1.mat"
    if len(coefficients) < DARCY_TRAIN + DARCY_VAL:
        raise ValueError(f"{path} must have {DARCY_TRAIN + DARCY_VAL} solutions or more, found {len(coefficients)}")
    train, val = slice(DARCY_TRAIN), slice(DARCY_TRAIN, DARCY_TRAIN + DARCY_VAL)
    return {
        "train": of_arrays(coefficients[train], solutions[train], path),
        "val": of_arrays(coefficients[val], solutions[val], path),
        "test": of_arrays(test[0][:DARCY_TEST], test[1][:DARCY_TEST], path),
    }


def _solutions(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3, H, W) coefficients with coordinates, and (N, H, W) solutions."""
    from scipy.io import loadmat  # which takes a second to import

    try:
        content = loadmat(existing(path), variable_names=["coeff", "sol"])
        coefficients, solutions = (content[key][:, ::DARCY_STEP, ::DARCY_STEP] for key in ("coeff", "sol"))
    except NotImplementedError as error:
        raise ValueError(f"{path}: a file of MATLAB 7.3; save it there again as version 7 (save -v7)") from error
    except Exception as error:  # damaged files raise errors of many classes
        raise ValueError(f"{path}: must have arrays coeff and sol (N, H, W) ({str(error)[:100]})") from error
    height, width = coefficients.shape[1:]
    axes = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    grid = np.broadcast_to(np.stack(axes), (len(coefficients), 2, height, width))
    return np.concatenate([coefficients[:, None], grid], axis=1).astype(np.float32), solutions.astype(np.float32)


def read_cosmic(source: Path) -> dict[str, Part]:
    """Cosmic rays in exposures of a telescope: ``train_dirs.npy`` and ``test_dirs.npy``, which list files.

    A file holds the exposure, the mask of cosmic rays and perhaps a mask of pixels to ignore. The listed paths are
    relative to the source's folder or to the one above it.
    """
    parts = {}
    for split in ("train", "test"):
        listed = read_array(source / f"{split}_dirs.npy")
        paths = [existing(_located(source, str(name))) for name in listed.ravel()]
        parts[split] = Part(len(paths), lambda number, paths=paths: _exposure(paths[number]))  # type: ignore[misc]
    return {**hold_out(parts["train"], max(1, round(COSMIC_VAL * parts["train"].size))), "test": parts["test"]}


def _located(source: Path, name: str) -> Path:
    """The file of a listed path, whose first folders may differ."""
    parts = [part for part in Path(name).parts if part not in (".", "..", "/")]
    candidates = [source.joinpath(*parts[start:]) for start in range(len(parts))]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _exposure(path: Path) -> Sample:
    window = slice(CROP_START, CROP_START + CROP)
    layers = np.asarray(read_array(path), dtype=np.float32)
    if layers.ndim != 3 or len(layers) not in (2, 3):
        raise ValueError(f"{path}: must be (2 or 3, H, W), found {layers.shape}")
    image, mask, *ignored = layers[:, window, window] if min(layers.shape[1:]) > CROP else layers
    mask = (mask > 0).astype(np.float32)
    return image[None], np.where(ignored[0] > 0, np.nan, mask) if ignored else mask


def read_psicov(source: Path) -> dict[str, Part]:
    """Distances of the residues of proteins: the folder ``protein`` with ``deepcov``, ``psicov`` and their lists.

    Proteins are placed in the upper left corner; what is outside is unknown. Of longer ones the rest is cut off.
    """
    folder = source / "protein"
    lists = {name: read_text(existing(folder / f"{name}.lst")).split("\n") for name in ("deepcov", "psicov")}
    names = {key: [line.split()[0] for line in lines if line.strip()] for key, lines in lists.items()}
    train = Part(len(names["deepcov"]), lambda number: _protein(folder / "deepcov", names["deepcov"][number], FARTHEST))
    test = Part(len(names["psicov"]), lambda number: _protein(folder / "psicov", names["psicov"][number], None))
    return {**hold_out(train, max(1, round(PROTEIN_VAL * train.size))), "test": test}


def _protein(folder: Path, name: str, farthest: float | None) -> Sample:
    """(57, 512, 512) features of pairs of residues, and (512, 512) their distances in ångström."""
    path = folder / "features" / f"{name}.pkl"
    features = read_pickle(path)
    length = len(entry(features, "seq", path))
    rows = [_per_residue(entry(features, key, path), length, path) for key in PAIRED]  # (K, length) each
    pairs = [np.asarray(entry(features, key, path)) for key in SINGLE]
    singles = np.concatenate(rows)
    across = np.broadcast_to(singles[:, None, :], (len(singles), length, length))
    # of each feature first the columns' residue, then the rows'
    channels = np.stack([across, across.transpose(0, 2, 1)], axis=1).reshape(-1, length, length)
    x = np.concatenate([channels, np.stack(pairs)])[:, :RESIDUES, :RESIDUES]
    y = _distances(folder / "distance" / f"{name}-cb.npy", length)[:RESIDUES, :RESIDUES]
    y = y if farthest is None else np.minimum(y, farthest)
    beyond = RESIDUES - min(length, RESIDUES)
    return (
        np.pad(x, ((0, 0), (0, beyond), (0, beyond))),
        np.pad(y, ((0, beyond), (0, beyond)), constant_values=np.nan),
    )


def _per_residue(values: Any, length: int, path: Path) -> np.ndarray:
    """(K, length) features of residues."""
    array = np.atleast_2d(np.asarray(values, dtype=np.float32))
    array = array if array.shape[1] == length else array.T
    if array.shape[1] != length:
        raise ValueError(f"{path}: must have features of {length} residues, found {array.shape}")
    return array


def _distances(path: Path, length: int) -> np.ndarray:
    """(length, length) distances of at least 1, with those of neighbours on the diagonal."""
    content = read_array(path)
    distances = np.maximum(np.array(content[2], dtype=np.float32), 1.0)
    if distances.shape != (length, length):
        raise ValueError(f"{path}: must have distances of {length} residues, found {distances.shape}")
    beside = np.diagonal(distances, 1)
    if length > 1:
        np.fill_diagonal(distances, (np.append(beside, beside[-1]) + np.insert(beside, 0, beside[0])) / 2)
    return distances
