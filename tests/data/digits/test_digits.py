import itertools

import numpy as np
import pytest

from tests.conftest import tiny_backbone
from tests.data.core.test_loading import digits
from tracer_lightning.data.digits.styles import PALETTE, STYLES, load_splits, render


@pytest.fixture(scope="module")
def spec():
    return tiny_backbone().spec


def test_splits_are_disjoint_and_complete():
    splits = load_splits()
    assert sum(len(split.labels) for split in splits.values()) == 1797
    contents = [{image.tobytes() for image in split.images} for split in splits.values()]
    for first, second in itertools.combinations(contents, 2):
        assert len(first & second) <= 1  # scikit-learn's set has a few identical images


@pytest.mark.parametrize("style", STYLES)
def test_rendering_is_repeatable_and_visible(style):
    digits, labels = load_splits()["val"]
    images = render(digits[:20], labels[:20], style, seed=3)
    assert images.shape == (20, 3, 32, 32)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, render(digits[:20], labels[:20], style, seed=3))
    assert (images.std(axis=(1, 2, 3)) > 15).all()


def test_colour_gives_the_class_away_in_95_percent():
    digits, labels = load_splits()["train"]
    images = render(digits, labels, "spurious", seed=1).astype(float)
    ink = images.reshape(len(labels), 3, -1).max(axis=2)  # the colour where coverage is full
    nearest = np.linalg.norm(ink[:, None] - 255 * PALETTE, axis=2).argmin(axis=1)
    assert 0.93 < (nearest == labels).mean() < 0.97


def test_roles_follow_the_training_styles(spec):
    data = digits(spec)
    roles = {eval_set.name: eval_set.role for eval_set in data.eval_sets}
    assert roles.pop("spurious") == "id"
    assert len(roles) >= 5
    assert set(roles.values()) == {"ood"}
    assert {eval_set.split for eval_set in data.eval_sets} == {"test"}
    assert data.val_set.split == "val"
    assert len(data.test_dataloader()) == len(STYLES)


def test_invalid_arguments_raise_errors(spec):
    for options, message in [
        ({"train_styles": ["neon"]}, "train_styles must name some of .* got neon"),
        ({"train_styles": []}, "got none"),
        ({"renderings_per_digit": 0}, "renderings_per_digit must be"),
        ({"num_workers": -1}, "num_workers must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            digits(spec, **options)
    with pytest.raises(ValueError, match=r"spec\.image_size must be 32 for these digits, got 224"):
        digits(spec._replace(image_size=224))
