"""Validation sets are disjoint from test sets."""

from collections import Counter

import pytest

from tests.data.images.test_folder import data
from tests.images import grey_pixels, write_image
from tracer_lightning.types import EvalSet

SIZES = {"train": {"cat": 20, "dog": 10, "owl": 2, "yak": 1}, "val": dict.fromkeys(("cat", "dog", "owl", "yak"), 3)}
SIZES["test"] = dict.fromkeys(SIZES["train"], 4)
HELD_OUT = {"cat": 2, "dog": 1, "owl": 1}
"""A tenth of each class, one at least and never all."""


def write(root, splits, sizes=SIZES):
    """Images whose grey level is the number of the image in its class."""
    for split in splits:
        for name, count in sizes[split].items():
            for number in range(count):
                write_image(root / split / name / f"{number}.png", grey_pixels(10 * number, 8, 8))
    return root


def module(root, val=None, test=None, fraction=0.1, chosen_by=0, ood=(), train="train", **options):
    folders = {"train": train, "val": val, "test": test, "ood": dict(ood)}
    return data(root, folders=folders, held_out={"fraction": fraction, "seed": chosen_by}, **options)


def files(source):
    return {(path.parent.name, path.name) for path, _ in source.files}


def sizes(source):
    return dict(Counter(path.parent.name for path, _ in source.files))


@pytest.mark.parametrize("tested", ["val", "test"])
def test_one_folder_beside_training_is_the_test_set(tmp_path, tested):
    split = module(write(tmp_path / "pets", ["train", tested]))
    assert split.val_set == EvalSet("pets", "val", "id")
    assert split.val_set not in split.eval_sets
    train, val, test = split.train_source(), split.eval_source(split.val_set), split.eval_source(split.eval_sets[0])
    assert sizes(val) == HELD_OUT
    assert sizes(train) == {"cat": 18, "dog": 9, "owl": 1, "yak": 1}
    assert not files(train) & files(val)
    assert sizes(test) == SIZES[tested]
    assert split.about_validation() == (
        f"4 of 33 images in {tmp_path}/pets/train (12.1%) are held out of training for validation; the test set is "
        f"{tmp_path}/pets/{tested}"
    )


@pytest.mark.parametrize("layout", ["one folder", "train", "train and val"])
def test_test_images_are_held_out_where_they_have_no_folder(tmp_path, layout):
    root = write(tmp_path / "pets", ["train"])
    if layout == "one folder":
        root = root / "train"
    if layout == "train and val":
        write(root, ["val"])
    split = module(root, train=None, val="val" if layout == "train and val" else None)
    parts = [split.train_source(), split.eval_source(split.val_set), split.eval_source(split.eval_sets[0])]
    train, val, test = map(sizes, parts)
    assert split.eval_sets[0] == EvalSet(root.name, "test", "id")
    assert test == HELD_OUT
    assert val == (SIZES["val"] if layout == "train and val" else {"cat": 2, "dog": 1})
    assert train == ({"cat": 18, "dog": 9} if layout == "train and val" else {"cat": 16, "dog": 8}) | {
        "owl": 1,
        "yak": 1,
    }
    assert not files(parts[0]) & files(parts[2])
    if layout != "train and val":
        folder = root if layout == "one folder" else root / "train"
        assert split.about_validation() == (
            f"3 of 33 images in {folder} (9.1%) are held out of training for validation, and 4 (12.1%) for testing"
        )


def test_a_test_folder_that_is_the_training_folder_is_held_out(tmp_path):
    root = write(tmp_path / "pets", ["train"])
    (root / "alias").symlink_to(root / "train")
    for test in ("train", str(root / "alias")):
        split = module(root, test=test)
        assert sizes(split.eval_source(split.eval_sets[0])) == HELD_OUT
        assert not files(split.train_source()) & files(split.eval_source(split.eval_sets[0]))


def test_three_folders_have_their_own_images(tmp_path):
    split = module(write(tmp_path / "pets", SIZES))
    assert sizes(split.train_source()) == SIZES["train"]
    assert sizes(split.eval_source(split.val_set)) == SIZES["val"]
    assert sizes(split.eval_source(split.eval_sets[0])) == SIZES["test"]
    assert split.about_validation() == ""


@pytest.mark.parametrize(
    "options",
    [{"val": "val", "test": "val"}, {"test": "val"}, {"val": "val", "test": "./alias"}, {"ood": {"shifted": "val"}}],
)
def test_a_test_folder_is_never_used_for_validation(tmp_path, options):
    root = write(tmp_path / "pets", SIZES)
    (root / "alias").symlink_to(root / "val")
    options = {**options, "test": str(root / "alias")} if "./alias" in options.values() else options
    split = module(root, **options)
    assert sizes(split.eval_source(split.val_set)) == HELD_OUT


def test_held_out_images_depend_on_their_names_and_the_seed_alone(tmp_path):
    root = write(tmp_path / "pets", ["train", "val"])
    complete = files(module(root).eval_source(module(root).val_set))
    moved = write(tmp_path / "elsewhere", ["train", "val"])
    modules = [module(moved), module(root, batch_size=2, num_workers=1, seed=7)]
    assert all(files(split.eval_source(split.val_set)) == complete for split in modules)
    seeded = module(root, chosen_by=1)
    assert files(seeded.eval_source(seeded.val_set)) != complete
    write(root, ["train"], {"train": {"cat": 21, "dog": 10}})
    more = module(root)
    assert len(complete - files(more.eval_source(more.val_set))) <= 1


def test_every_reader_of_training_images_leaves_them_out(tmp_path):
    split = module(write(tmp_path / "pets", ["train", "val"]), batch_size=29)
    (batch,) = split.train_dataloader()
    assert Counter(batch.labels.tolist()) == {0: 18, 1: 9, 2: 1, 3: 1}
    plain = [label for batch in split.plain_loader() for label in batch.labels.tolist() if label >= 0]
    assert Counter(plain) == Counter(batch.labels.tolist())
    kept = {
        (int(label), round(image.float().mean().item()))
        for image, label in zip(batch.images, batch.labels, strict=True)
    }
    held = {
        (int(label), round(image.float().mean().item()))
        for batch in split.val_dataloader()
        for image, label in zip(batch.images, batch.labels, strict=True)
        if label >= 0
    }
    assert len(held) == 4
    assert not kept & held


def test_fraction_0_monitors_the_test_set(tmp_path):
    split = module(write(tmp_path / "pets", ["train", "val"]), fraction=0)
    assert split.val_set == split.eval_sets[0]
    assert sizes(split.train_source()) == SIZES["train"]


def test_invalid_splits_raise_errors(tmp_path):
    root = write(tmp_path / "pets", ["train"])
    with pytest.raises(
        ValueError, match=r"contains no folder to test on, and held_out\.fraction is 0; add a folder test"
    ):
        module(root, fraction=0)
    for root_of_none in ("nowhere", "pets/train/cat/0.png"):
        with pytest.raises(ValueError, match="is not a folder"):
            module(tmp_path / root_of_none)
    untrained = write(tmp_path / "untrained", ["test"])
    with pytest.raises(ValueError, match="contains test, but no folder train; add it, or set folders"):
        module(untrained, train=None)
    for fraction in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"held_out\.fraction must be >= 0 and < 1, got"):
            module(root, fraction=fraction)
    single = write(tmp_path / "single", ["train", "val"], {"train": {"cat": 1}, "val": {"cat": 1}})
    with pytest.raises(
        ValueError, match=r"no class of 2 images, so .* for validation; .*, or held_out\.fraction to 0$"
    ):
        module(single).setup("fit")
    double = write(tmp_path / "double", ["train"], {"train": {"cat": 2, "dog": 1}})
    with pytest.raises(ValueError, match=r"no class of 3 images, so .* for validation; .* to another folder$"):
        module(double).setup("fit")
