"""Files of pairs, and data modules of them."""

import csv
import json

import numpy as np

from tests.images import write_image
from tracer_lightning.data import PairsDataModule

LOADING = {"batch_size": 8, "eval_batch_size": 16, "num_workers": 0, "seed": 0, "max_bad_fraction": 0.0}
SETTINGS = {
    **{"folder": None, "val": None, "tests": {}, "held_out": {"fraction": 0.05, "seed": 0}, "columns": {}, "suite": {}},
    **{"augmentation": {"crop_scale": [0.9, 1.0], "flip": 0.0}, "eval_decoder": "torchvision"},
    **LOADING,
}


def write_images(folder, count):
    """Images of distinct content and size."""
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (6 + number % 5, 8, 3), dtype=np.uint8)
        write_image(folder / f"images/{number}.png", pixels)


def rows(count, captions=1, image="filepath", caption="title"):
    """Rows of images 0, 1, ... with several captions each."""
    return [
        {image: f"images/{number}.png", caption: f"picture {number} text {text}"}
        for number in range(count)
        for text in range(captions)
    ]


def write_rows(path, entries, separator=","):
    """Write a file in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, entries[0], delimiter=separator)
            writer.writeheader()
            writer.writerows(entries)
    else:
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def pairs(spec, root, file="mine.csv", kind=PairsDataModule, **options):
    return kind(spec=spec, root=str(root), file=file, cache_dir=f"{root}/cache", **{**SETTINGS, **options})
