"""Splits, captions, copies and labelled sets of pairs."""

import re
import shutil
import warnings

import pytest
import torch

from tests.data.pairs.pair_files import pairs, rows, write_images, write_rows
from tests.data.shards.helpers import write
from tests.images import grey_pixels, write_image
from tracer_lightning.losses import InfoNCE


def trained(data, epoch=0):
    """Tokens of every training image in an epoch, by its position."""
    dataset = data.train_dataset()
    return [dataset[epoch, index].text for index in range(len(dataset))]


def test_images_are_held_out_with_all_their_captions(root, spec):
    data = pairs(spec, root)
    assert len(data.train_dataset()) == 20
    assert data.eval_sets == (data.val_set,)
    assert data.val_set.samples == 100
    assert {len(captions) for captions in data.captions(data.val_set)} == {2}
    source = data.train_source()
    names = {text for index in range(20) for text in source.captions(index)}
    assert not names & {text for captions in data.captions(data.val_set) for text in captions}
    assert "100 of 120 images in mine.csv (83.3%) are held out" in data.about_validation()
    assert "mine is both monitored and tested" in data.about_validation()
    again, other = pairs(spec, root, seed=5), pairs(spec, root, held_out={"fraction": 0.05, "seed": 1})
    assert again.captions(again.val_set) == data.captions(data.val_set)
    assert other.captions(other.val_set) != data.captions(data.val_set)


def test_one_caption_is_drawn_per_image_and_epoch(root, spec):
    data = pairs(spec, root, val="val.csv", tests={"far": {"file": "val.csv", "role": "ood"}})
    first, again, second = trained(data), trained(data), trained(data, epoch=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    source = data.train_source()
    both = [spec.tokenize(source.captions(index)) for index in range(len(first))]
    drawn = [(tokens == text).all(dim=1).tolist() for tokens, text in zip(both, first, strict=True)]
    assert all(sum(matches) == 1 for matches in drawn)
    assert 40 < sum(matches[0] for matches in drawn) < 80
    changed = sum(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert 30 < changed < 90
    assert (data.val_set.name, data.val_set.split) == ("val", "val")
    assert [(eval_set.name, eval_set.role) for eval_set in data.eval_sets] == [("far", "ood")]
    assert data.about_validation() == ""


def test_captions_and_their_owners_are_given_to_suites(root, spec):
    data = pairs(spec, root)
    captions = data.suite_context()["captions"][data.val_set]
    assert captions.owners == tuple(image for image in range(100) for _ in range(2))
    texts = [text for of_image in data.captions(data.val_set) for text in of_image]
    assert torch.equal(captions.tokens, spec.tokenize(texts)[:, : captions.tokens.shape[1]])
    assert data.context() == {}
    batch = next(iter(data.eval_loader(data.val_set)))
    assert batch.indices.tolist() == list(range(16))


def test_copies_of_test_images_are_left_out_of_training(tmp_path, root, spec):
    shutil.copytree(root / "images", tmp_path / "images")
    for number in range(3):
        shutil.copy(root / f"images/{125 + number}.png", tmp_path / f"images/{number}.png")
    for name in ("mine.csv", "val.csv"):
        shutil.copy(root / name, tmp_path)
    data = pairs(spec, tmp_path, val="val.csv")
    with pytest.warns(UserWarning, match="mine.csv: of 120 training images, 3 are left out as copies of"):
        assert len(data.train_dataset()) == 117
    with pytest.raises(ValueError, match=r"val\.csv: all training images are in a validation or test set, too; train"):
        pairs(spec, tmp_path, file="val.csv", val="mine.csv", tests={"far": "val.csv"}).train_dataset()


def test_copies_within_a_test_set_are_counted(tmp_path, spec):
    write_images(tmp_path, 4)
    shutil.copy(tmp_path / "images/1.png", tmp_path / "images/copy.png")
    for name in ("bad", "worse"):
        (tmp_path / f"images/{name}.png").write_bytes(b"no image")
    others = [{"filepath": f"images/{name}.png", "title": name} for name in ("copy", "bad", "worse")]
    write_rows(tmp_path / "mine.csv", [*rows(4), *others])
    data = pairs(spec, tmp_path, val="mine.csv", max_bad_fraction=0.5)
    copy = r"mine: 1 image has the content of another one of the set, .*: images/copy\.png is images/1\.png; give all"
    with pytest.warns(UserWarning, match=copy) as warned:
        data.eval_dataset(data.val_set)
    assert len([warning for warning in warned if warning.category is UserWarning]) == 1


def test_damaged_images_are_no_copies_of_each_other(tmp_path, spec):
    write_images(tmp_path, 4)
    (tmp_path / "images/0.png").write_bytes(b"no image")
    (tmp_path / "images/3.png").write_bytes(b"no image")
    write_rows(tmp_path / "mine.csv", rows(2))
    write_rows(tmp_path / "val.csv", rows(4)[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert len(pairs(spec, tmp_path, val="val.csv").train_source()) == 2


def test_truncated_captions_are_counted(tmp_path, spec):
    write_images(tmp_path, 4)
    entries = rows(4)
    entries[2]["title"] = "a very long caption of many words " * 4
    write_rows(tmp_path / "mine.csv", entries)
    data = pairs(spec, tmp_path, val="mine.csv", max_bad_fraction=0.0)
    with pytest.warns(UserWarning, match="mine: 1 caption is longer than the 16 tokens of the model's context"):
        data.eval_dataset(data.val_set)


def labelled(tmp_path, root):
    """Shards and class folders with classes of their own."""
    write(tmp_path / "grey", "test", 9)
    for name in ("big_dog", "owl"):
        write_image(tmp_path / "pets" / name / "0.png", grey_pixels(9))
    return {
        "grey": {"folder": str(tmp_path / "grey"), "split": "test", "role": "other"},
        "pets": {"folder": str(tmp_path / "pets"), "templates": ["a {c}."], "role": "other"},
    }


def test_labelled_sets_have_classes_of_their_own(tmp_path, root, spec):
    data = pairs(spec, root, suite=labelled(tmp_path, root))
    assert [eval_set.name for eval_set in data.eval_sets] == ["mine", "grey", "pets"]
    _, grey, pets = data.eval_sets
    assert (grey.role, grey.texts.classnames) == ("other", ("cat", "dog", "owl"))
    assert data.label_names(pets) == ["big dog", "owl"]
    assert data.label_names(data.val_set) == []
    assert set(data.suite_context()["own_prompts"]) == {"grey", "pets"}
    assert sorted(next(iter(data.eval_loader(grey))).labels.tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert next(iter(data.eval_loader(pets))).labels.tolist() == [0, 1]


def test_faulty_sets(tmp_path, root, spec):
    def refused(message, **options):
        with pytest.raises(ValueError, match=re.escape(message)):
            pairs(spec, root, **options)

    sets = labelled(tmp_path, root)
    refused(
        "suite.grey.role must be other, since pairs have no classes", suite={"grey": {**sets["grey"], "role": "ood"}}
    )
    refused("suite.mine has the name of a set of pairs; rename one of them", suite={"mine": sets["grey"]})
    matching = {"folder": "set_*", "split": "test", "role": "other"}
    write(tmp_path / "sets/set_grey", "test", 3)
    with pytest.raises(ValueError, match="suite has two sets called grey; rename one of them"):
        pairs(spec, tmp_path / "sets", file=str(root / "mine.csv"), suite={"grey": sets["grey"], "all": matching})
    refused("suite.pets.templates must be a list", suite={"pets": {**sets["pets"], "templates": None}})
    bare = {**sets["grey"], "folder": str(root / "images"), "shards": "0.tar", "split": None}
    refused("suite.bare.classnames is not set, and", suite={"bare": bare})
    refused("tests.a.role must be one of id, ood, other, got 'val'", tests={"a": {"file": "val.csv", "role": "val"}})
    refused("tests must name a set, since val is None", held_out={"fraction": 0, "seed": 0})
    refused("val.csv has 10 images, and at least 100 are held out for validation; set val", file="val.csv")
    refused("held_out.fraction must be >= 0 and < 1, got 1", held_out={"fraction": 1, "seed": 0})
    write_rows(tmp_path / "one.csv", [{"image": str(root / "images/0.png"), "caption": text} for text in "ab"])
    refused("one.csv has 1 image, and at least 100 are held out", file=str(tmp_path / "one.csv"))
    refused("one has pairs of one image only, which is always retrieved", val=str(tmp_path / "one.csv"))


def test_losses_that_need_labels_are_refused(root, spec):
    data = pairs(spec, root)
    with pytest.raises(ValueError, match="have no labels, which a loss reads; set positives to 'diagonal'"):
        data.check_losses(frozenset({"image", "labels"}), [InfoNCE("same_label")])
    with pytest.raises(ValueError, match="captions but no labels, which a head needs"):
        data.check_losses(frozenset({"logits"}), [])
    assert data.check_losses(frozenset({"image", "text"}), [InfoNCE()]) == []


def test_auxiliary_pairs_may_be_mixed_in(root, spec):
    data = pairs(spec, root)
    data.mix_in({"more": pairs(spec, root, file="val.csv", val="mine.csv", evaluates=False)}, 0.5, "sample")
    batch = next(iter(data.train_loader()))
    assert batch.images.shape[0] == 8
