import io

import numpy as np
import pytest
import torch
from PIL import Image

from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.inspection import inspect_source, shared_images


class Images:
    """Images in memory, as a source."""

    def __init__(self, *images, labels=None):
        self.images = images
        self.labels = labels or [0] * len(images)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return RawSample(self.images[index], self.labels[index], f"image {index}")


def png(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_counts_sizes_and_what_cannot_be_read():
    result = inspect_source(Images(png(4, 8), b"no image", png(20, 6), png(6, 6), labels=[1, 0, 1, -1]), "train")
    assert (result.images, dict(result.class_counts)) == (4, {0: 1, 1: 2})
    assert result.sides.tolist() == [[4, 6, 20], [6, 6, 8]]
    [line] = result.unreadable
    assert line.startswith("image 1: ")


@pytest.mark.parametrize("image", [lambda seed: png(5, 5, seed), lambda seed: torch.full((3, 2, 2), seed).byte()])
def test_repetitions_within_and_between_sets(image):
    train = inspect_source(Images(image(0), image(1), image(0)), "train")
    test = inspect_source(Images(image(2), image(1), image(1)), "test")
    assert train.repeated == [("image 0", "image 2")]
    assert test.repeated == [("image 1", "image 2")]
    assert shared_images(train, test) == [("image 1", "image 1")]


def test_a_set_without_any_readable_image():
    assert inspect_source(Images(b"", b"x"), "train").sides is None
