"""Files of the forms that the benchmark's have, with few samples, and arrays of its shapes."""

import csv
import gzip
import json
import pickle

import numpy as np
from scipy.io import savemat, wavfile

from tracer_lightning.data.nas_bench_360 import TASKS

DRAW = np.random.default_rng(0)


def numbers(*shape):
    return DRAW.normal(size=shape).astype(np.float32)


def write_pickle(path, content, protocol=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pickle.dump(content, file, protocol)


def write_cifar100(root):
    for split, count in (("train", 200), ("test", 9)):
        images = DRAW.integers(256, size=(count, 3072)).astype(np.uint8)
        labels = [number % 100 for number in range(count)]
        write_pickle(root / "cifar-100-python" / split, {b"data": images, b"fine_labels": labels})


def write_spherical(root):
    splits = {
        split: {
            "images": DRAW.integers(256, size=(count, 3, 60, 60)).astype(np.uint8),
            "labels": np.arange(count) % 100,
        }
        for split, count in (("train", 10), ("test", 3))
    }
    with gzip.open(root / "s2_cifar100.gz", "wb") as file:
        pickle.dump(splits, file)


def write_ninapro(root):
    (root / "ninaPro").mkdir()
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        np.save(root / f"ninaPro/ninapro_{split}.npy", numbers(count, 52, 16))
        np.save(root / f"ninaPro/label_{split}.npy", np.arange(count) % 18)


def write_satellite(root):
    for split, count in (("train", 20), ("test", 4)):
        content = {"data": numbers(count, 46), "label": 1 + np.arange(count) % 24}
        np.save(root / f"satellite_{split}.npy", content, allow_pickle=True)


def write_deepsea(root):
    splits = {f"x_{split}": DRAW.integers(2, size=(5, 1000, 4)).astype(np.uint8) for split in ("train", "val", "test")}
    np.savez(
        root / "deepsea_filtered.npz", **splits, **{name.replace("x", "y"): np.ones((5, 36), "u1") for name in splits}
    )


def write_ecg(root):
    records = np.empty(20, dtype=object)
    for number in range(20):
        records[number] = (100 + 10 * numbers(1600 + number)).astype(np.int16)
    labels = [("N", "A", "O", "~")[number % 4] for number in range(20)]
    write_pickle(root / "challenge2017.pkl", {"data": records, "label": labels})


def write_fsd50k(root):
    (root / "fsd/chunks/waves").mkdir(parents=True)
    (root / "fsd/chunks/lbl_map.json").write_text(json.dumps({f"label {number}": number for number in range(200)}))
    for name in ("tr", "val", "eval"):
        with (root / f"fsd/chunks/{name}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["files", "labels", "ext"])
            for sound in range(2):
                for second in range(2):
                    path = root / f"fsd/chunks/waves/{name}{sound}_{second}.wav"
                    length = 22_050 if second else 9_000
                    wavefile = (3000 * np.sin(np.arange(length) * (sound + 1) / 10)).astype(np.int16)
                    wavfile.write(path, 22_050, wavefile)
                    table.writerow([f"/old/chunks/waves/{path.name}", f"label {sound},label 7", f"{name}{sound}"])


def write_darcy(root, size=11, count=1000):
    for number in (1, 2):
        content = {"coeff": numbers(count, size, size), "sol": numbers(count, size, size)}
        savemat(root / f"piececonst_r421_N1024_smooth{number}.mat", content)


def write_cosmic(root):
    for split, count in (("train", 4), ("test", 2)):
        folder = root / f"npy_{split}/f435w/1/1"
        folder.mkdir(parents=True)
        for number in range(count):
            layers = np.stack([numbers(256, 256), numbers(256, 256) > 1, numbers(256, 256) > 2])
            np.save(folder / f"{number}.npy", layers.astype(np.float32))
        np.save(root / f"{split}_dirs.npy", [f"./cosmic/{folder.relative_to(root)}/{n}.npy" for n in range(count)])


def write_psicov(root, length=6):
    for name, count in (("deepcov", 2), ("psicov", 1)):
        folder = root / "protein" / name
        (folder / "distance").mkdir(parents=True)
        proteins = [f"{name}{number}" for number in range(count)]
        (root / f"protein/{name}.lst").write_text("".join(f"{protein} {length}\n" for protein in proteins))
        for protein in proteins:
            pairs = {key: numbers(length, length) for key in ("ccmpred", "freecon", "potential")}
            features = {"seq": "A" * length, "ss": numbers(3, length), "pssm": numbers(length, 22), **pairs}
            features |= {key: numbers(length) for key in ("sa", "entropy")}
            write_pickle(folder / f"features/{protein}.pkl", features)
            content = np.empty(3, dtype=object)
            content[:] = [length, "A" * length, None]
            content[2] = 30 * np.abs(numbers(length, length))
            np.save(folder / f"distance/{protein}-cb.npy", content, allow_pickle=True)


WRITERS = {name.removeprefix("write_"): function for name, function in globals().items() if name.startswith("write_")}


def write_arrays(folder, name):
    """Arrays of a task's shapes, with as few samples as it can be trained on."""
    benchmark = TASKS[name]
    folder.mkdir()
    has_classes = benchmark.task == "classification"
    for split, count in (("train", max(4, 2 * benchmark.outputs[0] if has_classes else 4)), ("val", 2), ("test", 2)):
        np.save(folder / f"{split}_x.npy", (3 * numbers(count, *benchmark.sample)).astype(benchmark.dtype))
        labels = np.arange(count) % benchmark.outputs[0]
        values = numbers(count, *benchmark.outputs)
        values = 5 + values if benchmark.task == "dense" else values > 0
        np.save(folder / f"{split}_y.npy", labels if has_classes else values)
    return folder
