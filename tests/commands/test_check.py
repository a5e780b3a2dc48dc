import shutil

import pytest

from tests.commands.helpers import script
from tests.images import random_pixels, write_image


@pytest.fixture
def root(tmp_path):
    """Two classes, one of them small, with images in two sets, a repetition, and a file that is no image."""
    seed = 0
    for split, counts in (("train", {"cat": 12, "dog": 4}), ("test", {"cat": 2, "dog": 2})):
        for name, count in counts.items():
            for number in range(count):
                write_image(tmp_path / "images" / split / name / f"{number:02}.jpg", random_pixels(seed=seed))
                seed += 1
    train, test = tmp_path / "images/train", tmp_path / "images/test"
    shutil.copy(next((train / "cat").iterdir()), test / "cat/copy.jpg")
    shutil.copy(sorted((train / "cat").iterdir())[1], train / "cat/zz_again.jpg")
    (train / "dog/broken.jpg").write_bytes(b"no image")
    (tmp_path / "images/far/dog").mkdir(parents=True)
    shutil.copy(test / "dog/00.jpg", tmp_path / "images/far/dog/seen.jpg")
    return tmp_path / "images"


OPTIONS = ("experiment=own_images", "backbone=digits_vit", "data.num_workers=0", "data.batch_size=4")


@pytest.mark.slow
def test_what_is_wrong_with_images_is_said_before_training(root, tmp_path):
    status, out, err = script(
        "check",
        *OPTIONS,
        f"data.root={root}",
        "data.held_out.fraction=0.2",
        "+data.folders.ood.far=far",
        f"paths.outputs={tmp_path / 'outputs'}",
    )
    assert status == 0, err
    lines = out.splitlines()
    assert any("train: images that can't be read: 1 (" in line and "broken.jpg" in line for line in lines)
    assert any("images that are training images, too: 1 (" in line and "copy.jpg" in line for line in lines)
    assert any("far: images that are in images, too: 1 (" in line and "seen.jpg" in line for line in lines)
    assert any("images that occur earlier in the set: 1 (" in line for line in lines)
    assert any(line.startswith("classes with fewer than 5 training images: 1 (dog (") for line in lines)
    assert any(line.startswith("in a batch of 4, an image meets ") for line in lines)
    assert "measured on this machine" in lines[-1]
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_other_data_are_refused(tmp_path):
    status, _, err = script("check", "experiment=questions", "prerequisite=null", f"paths.outputs={tmp_path}")
    assert (status, err.splitlines()[-1][:38]) == (1, "error: data must be images for check, "), err


def test_other_modalities_are_refused(tmp_path):
    status, _, err = script("check", "experiment=cross_modal", f"paths.outputs={tmp_path}")
    assert (status, err.splitlines()[-1]) == (
        1,
        "error: embedder: check is for images, and not for other modalities; choose embedder=pixels",
    )
