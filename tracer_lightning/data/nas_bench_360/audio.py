"""Sounds of FSD50K, as log-mel spectrograms."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import torch

from tracer_lightning.data.nas_bench_360.part import SEED, Part, Sample, existing
from tracer_lightning.storage import read_text

RATE = 22_050
"""Samples of a sound per second; a sound has one second."""
FFT, WIDTH, HOP, BANDS, FRAMES = 1920, 661, 220, 96, 102
"""Length of the Fourier transform, of its window and of its steps in samples, and size of a spectrogram."""
DYNAMIC_RANGE = 80.0
"""Decibels below the maximum that quieter parts are set to."""
SPLITS = {"train": "tr.csv", "val": "val.csv", "test": "eval.csv"}


def read_fsd50k(source: Path) -> dict[str, Part]:
    """Sounds of FSD50K in seconds: the folder ``fsd`` with ``chunks/{tr,val,eval}.csv``, ``lbl_map.json`` and waves.

    Each sound is one of its seconds, drawn at random. The released code draws one in training, and adds noise; in
    testing it takes the mean of the predictions of all.
    """
    folder = source / "fsd"
    labels: dict[str, int] = json.loads(read_text(existing(folder / "chunks" / "lbl_map.json")))
    return {split: _sounds(folder, folder / "chunks" / name, labels) for split, name in SPLITS.items()}


def _sounds(folder: Path, table: Path, labels: dict[str, int]) -> Part:
    with existing(table).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"files", "labels", "ext"} <= rows[0].keys():
        raise ValueError(f"{table}: must have the columns files, labels and ext")
    seconds: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        seconds.setdefault(row["ext"], []).append(row)
    draw = np.random.default_rng(SEED)
    chosen = [group[int(draw.integers(len(group)))] for group in seconds.values()]
    bank = mel_filters()

    def read(number: int) -> Sample:
        row = chosen[number]
        holds = np.zeros(len(labels), dtype=np.float32)
        for name in row["labels"].split(","):
            if name not in labels:
                raise ValueError(f"{table}: the label {name!r} is not in lbl_map.json")
            holds[labels[name]] = 1
        return log_mel(_wave(folder, row["files"]), bank)[None], holds

    return Part(len(chosen), read)


def _wave(folder: Path, name: str) -> torch.Tensor:
    """(RATE,) samples in [-1, 1]; shorter sounds are repeated."""
    from scipy.io import wavfile  # which takes a second to import

    parts = Path(name).parts
    candidates = [folder.joinpath(*parts[start:]) for start in range(1, len(parts))] or [folder / name]
    path = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
    rate, samples = wavfile.read(existing(path))
    if rate != RATE or samples.ndim != 1 or not len(samples):
        raise ValueError(f"{path}: must be one channel of {RATE} samples a second, found {rate}, {samples.shape}")
    scale = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max) + 1
    repeats = math.ceil(RATE / len(samples))
    return torch.from_numpy(np.tile(samples.astype(np.float32) / scale, repeats)[:RATE])


def mel_filters() -> torch.Tensor:
    """(BANDS, FFT / 2 + 1) triangular filters, equally wide on the mel scale of HTK."""
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, BANDS + 2, dtype=torch.double) / 2595) - 1)  # Hz
    frequencies = torch.linspace(0, RATE / 2, FFT // 2 + 1, dtype=torch.double)
    above, widths = frequencies - edges[:, None], edges.diff()[:, None]  # Hz
    rising, falling = above[:-2] / widths[:-1], -above[2:] / widths[1:]
    return torch.minimum(rising, falling).clamp(min=0).float()


def log_mel(wave: torch.Tensor, bank: torch.Tensor) -> np.ndarray:
    """(BANDS, FRAMES) energies in decibels, without their mean, of a second of sound."""
    spectrum = torch.stft(wave, FFT, HOP, WIDTH, torch.hann_window(WIDTH), return_complex=True).abs().square()
    energies = 10 * (bank @ spectrum).clamp(min=1e-10).log10()  # (BANDS, 101)
    energies = energies.clamp(min=float(energies.max()) - DYNAMIC_RANGE)
    energies = energies - energies.mean()
    padded = torch.nn.functional.pad(energies, (0, FRAMES - energies.shape[1]))
    return padded.numpy()
