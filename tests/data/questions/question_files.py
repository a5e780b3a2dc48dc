"""Files of questions with images, and data modules of them."""

import csv
import json

import numpy as np

from tests.images import write_image
from tracer_lightning.data import VqaDataModule

COLOURS = {"red": (230, 25, 45), "green": (50, 190, 60), "blue": (40, 80, 255), "yellow": (255, 220, 20)}
QUESTION = "what colour is the digit ?"
LOADING = {"batch_size": 4, "eval_batch_size": 8, "num_workers": 0, "seed": 0, "max_bad_fraction": 0.0}
SETTINGS = {
    **{"val": None, "tests": {}, "held_out": {"fraction": 0.1, "seed": 0}, "columns": None, "letters": False},
    **LOADING,
}


def rows(count=20, **fields):
    """Questions for the colours of images, with options."""
    names = list(COLOURS)
    plain = [
        {"image": f"images/{number}.png", "question": QUESTION, "answer": names[number % 4], "options": names}
        for number in range(count)
    ]
    return [{**row, **fields} for row in plain]


def write_images(folder, count=20):
    for number, colour in zip(range(count), [*COLOURS.values()] * count, strict=False):
        pixels = np.full((20 + number, 24, 3), number, np.uint8)
        pixels[4:16, 4:16] = colour
        write_image(folder / f"images/{number}.png", pixels)


def write_rows(path, entries):
    """Write a file in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, entries[0])
            writer.writeheader()
            writer.writerows(entries)
    elif path.suffix == ".json":
        path.write_text(json.dumps(entries))
    else:
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def vqa(spec, root, file="mine.jsonl", **options):
    return VqaDataModule(spec, str(root), **{"train": {"file": file, "folder": None}, **SETTINGS, **options})
