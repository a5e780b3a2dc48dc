import numpy as np
import pytest
import torch

from tests.conftest import tiny_backbone
from tests.images import random_pixels, write_image
from tracer_lightning.data import ImageFolderDataModule
from tracer_lightning.data.images.transforms import RandomCrop
from tracer_lightning.types import ClassTexts, EvalSet

CLASSES = ["big_dog", "cat", "owl"]
TEXTS = {"classnames": None, "templates": ["a {c}."]}
AUGMENTATION = {"crop_scale": [0.9, 1.0], "flip": 0.5}


@pytest.fixture
def root(folder_root):
    return folder_root


def data(root, ood=None, max_bad_fraction=0.001, **options):
    folders = {"train": "train", "val": "val", "test": "val", "ood": {"art": "art"} if ood is None else ood}
    loading = {"batch_size": 6, "eval_batch_size": 4, "num_workers": 0, "seed": 0}
    held_out = {"fraction": 0.0, "seed": 0}
    defaults = {"folders": folders, "held_out": held_out, "texts": TEXTS, "augmentation": AUGMENTATION} | options
    loading |= {"max_bad_fraction": max_bad_fraction, "eval_decoder": "torchvision"}
    return ImageFolderDataModule(tiny_backbone().spec, str(root), **(loading | defaults))


def test_folders_become_classes_and_suites(root):
    module = data(root)
    assert module.classnames == ["big dog", "cat", "owl"]
    assert module.eval_sets == (EvalSet("pets", "test", "id"), EvalSet("art", "test", "ood", ((1,), (2,))))
    batch = next(iter(module.train_dataloader()))
    assert batch.images.shape == (6, 3, 32, 32)
    for image, label in zip(batch.images.float(), batch.labels.tolist(), strict=True):
        assert image.mean().item() == pytest.approx(40 + 60 * label, abs=3)


def test_an_ood_set_with_fewer_classes_has_its_own_labels(root):
    module = data(root)
    labels = torch.cat([batch.labels for batch in module.test_dataloader()[1]])
    assert labels.tolist() == [0] * 4 + [1] * 4
    grey = next(iter(module.test_dataloader()[1])).images.float().mean().item()
    assert grey == pytest.approx(100, abs=3)


def test_crops_are_the_same_for_the_same_key_and_differ_by_epoch(root):
    for seed, folder in enumerate((root / "train").iterdir()):
        write_image(folder / "0.png", random_pixels(64, 48, seed))
    loader = data(root).train_dataloader()
    dataset = loader._loader.dataset
    assert torch.equal(dataset[(3, 1)].image, dataset[(3, 1)].image)
    assert any(not torch.equal(dataset[(epoch, 1)].image, dataset[(0, 1)].image) for epoch in range(1, 4))


def with_others(root, **others):
    """A data module with other sets; images of two shapes are in ``root/shapes``."""
    for number, name in enumerate(("red_square", "star")):
        write_image(root / "shapes" / name / "0.png", random_pixels(seed=number))
    folders = {"train": "train", "val": "val", "test": "val", "ood": {"art": "art"}, "others": others}
    return data(root, folders=folders)


def test_a_set_with_classes_of_its_own(root):
    module = with_others(
        root, shapes={"folder": "shapes", "classnames": None, "templates": ["a {c}.", "{c}"]}, none=None
    )
    assert [(eval_set.name, eval_set.role) for eval_set in module.eval_sets] == [
        ("pets", "id"), ("art", "ood"), ("shapes", "other"),
    ]  # fmt: skip
    shapes = module.eval_sets[2]
    assert shapes.texts == ClassTexts(("red square", "star"), ("a {c}.", "{c}"))
    assert module.label_names(shapes) == ["red square", "star"]
    assert module.suite_context()["own_prompts"]["shapes"].shape[:2] == (2, 2)
    assert [label for batch in module.test_dataloader()[2] for label in batch.labels.tolist()] == [0, 1]
    named = {"folder": str(root / "shapes"), "classnames": ["crimson", "sun"], "templates": ["{c}"]}
    assert with_others(root, shapes=named).eval_sets[2].texts == ClassTexts(("crimson", "sun"), ("{c}",))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"folder": "shapes"}, r"folders\.others\.shapes\.templates must be a list of templates .*, got None"),
        ({"folder": "shapes", "templates": []}, r"others\.shapes\.templates must be a list of one or more texts"),
        ({"folder": "shapes", "templates": ["a"]}, r"others\.shapes\.templates: template 'a' lacks the placeholder"),
        (
            {"templates": ["{c}"]},
            r"folders\.others\.shapes must have folder and templates, and may have classnames; got",
        ),
        ({"folder": "shapes", "role": "other"}, r"folders\.others\.shapes must have folder and templates, and may"),
        (
            {"folder": "none", "templates": ["{c}"]},
            r"folders\.others\.shapes\.folder must be a folder of class folders, and .*/none is none",
        ),
        (
            {"folder": "shapes", "templates": ["{c}"], "classnames": ["a"]},
            r"folders\.others\.shapes\.classnames has 1 names and .*/shapes 2 classes",
        ),
        (
            {"folder": "shapes", "templates": ["{c}"], "classnames": ["star", "Red square"]},
            r"folders\.others\.shapes\.classnames has the names of .*/shapes in another order",
        ),
    ],
)
def test_invalid_other_sets_raise_errors(root, entry, message):
    with pytest.raises(ValueError, match=message):
        with_others(root, shapes=entry)


def test_invalid_arguments_raise_errors(root, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere/train is not a folder; root must"):
        data(tmp_path / "nowhere")
    (root / "val" / "owl").rename(root / "owl")
    with pytest.raises(ValueError, match="lacks the class owl; an ID split needs all"):
        data(root)
    (root / "owl").rename(root / "val" / "owl")
    (root / "art" / "newt").mkdir()
    with pytest.raises(ValueError, match="has the class newt, which is not a training class"):
        data(root)
    (tmp_path / "empty/train/cat").mkdir(parents=True)
    (tmp_path / "empty/val/cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="contains no images"):
        data(tmp_path / "empty", ood={}).train_dataloader()
    (tmp_path / "flat/train").mkdir(parents=True)
    with pytest.raises(ValueError, match="contains no class folders"):
        data(tmp_path / "flat")
    with pytest.raises(ValueError, match=r"2 names and .* 3 classes"):
        data(root, ood={}, texts={"classnames": ["a", "b"], "templates": ["{c}"]})
    with pytest.raises(ValueError, match=r"texts\.classnames has the names of .*/train in another order: class 0"):
        data(root, ood={}, texts={"classnames": ["cat", "Big dog", "owl"], "templates": ["{c}"]})


def test_unreadable_images_are_replaced_counted_and_named(root):
    complete = {label for batch in data(root).train_dataloader() for label in batch.labels.tolist()}
    (root / "train/cat/0.jpg").write_bytes(b"<html>")
    (root / "val/owl/1.png").write_bytes((root / "val/owl/1.png").read_bytes()[:60])
    module = data(root)
    batches = [module.on_after_batch_transfer(batch, 0) for batch in module.train_dataloader()]
    assert {label for batch in batches for label in batch.labels.tolist()} == complete
    assert module.unreadable == {f"{root / 'train/cat/0.jpg'}: damaged, or of another format"}
    assert sum(len(batch.labels) for batch in batches) == 12
    batches = list(module.val_dataloader())
    assert sum((batch.labels >= 0).sum().item() for batch in batches) == 11
    assert [origin for batch in batches for origin in batch.unreadable] == [
        f"{root / 'val/owl/1.png'}: damaged, or of another format"
    ]


def test_an_image_deleted_after_the_folder_was_listed_is_replaced_and_named(root):
    module = data(root)
    source = module.train_source()
    source.files[0][0].unlink()
    batches = list(module.train_dataloader())
    assert sum(len(batch.labels) for batch in batches) == 12
    assert {location for batch in batches for location in batch.unreadable} == {f"{source.files[0][0]}: missing"}


def test_too_many_unreadable_images_end_the_run(root):
    for name in ("big_dog", "cat", "owl"):
        for image in (root / "train" / name).iterdir():
            image.write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"16 images in a row can't be read, the first .*train"):
        list(data(root).train_dataloader())
    module = data(root)
    batch = next(iter(module.val_dataloader()))
    with pytest.raises(ValueError, match=r"11 images can't be read, more than max_bad_fraction=0\.001"):
        module.on_after_batch_transfer(batch._replace(unreadable=tuple("abcdefghijk")), 0)


def test_random_crop_has_the_stated_scale_and_flips():
    ramp = torch.arange(64, dtype=torch.uint8).expand(3, 64, 64).contiguous()
    rng = np.random.default_rng(0)
    crop = RandomCrop(16, (0.25, 0.5), 0.5)
    areas = [h * w / 64**2 for _, _, h, w in (crop.box(64, 64, rng) for _ in range(200))]
    assert min(areas) > 0.24
    assert max(areas) < 0.52
    flipped = [bool(out[0, 0, 0] > out[0, 0, -1]) for out in (crop(ramp, rng) for _ in range(200))]
    assert 0.4 < np.mean(flipped) < 0.6
    with pytest.raises(ValueError, match="crop_scale must be"):
        RandomCrop(8, (0.0, 1.0), 0.0)
    with pytest.raises(ValueError, match="flip must be"):
        RandomCrop(8, (0.5, 1.0), 2.0)


def imagenet(root, *wnids):
    for wnid in wnids:
        write_image(root / "val" / wnid / "0.png", random_pixels())
    return str(root / "val")


def with_imagenet(root, folder):
    return data(root, folders={"train": "train", "val": "val", "test": "val", "ood": {}, "imagenet": folder})


def test_some_classes_of_imagenet_are_a_set_of_their_own(root, tmp_path):
    module = with_imagenet(root, imagenet(tmp_path / "imagenet", "n02123045", "n01440764"))
    eval_set = module.eval_sets[-1]
    assert (eval_set.name, eval_set.role) == ("imagenet", "other")
    assert eval_set.texts.classnames == ("tench", "tabby cat")
    assert len(eval_set.texts.templates) == 80
    source = module.eval_source(eval_set)
    assert [(int(label), source[index].origin.split("/")[-2]) for index, label in enumerate(source.labels)] == [
        (0, "n01440764"),
        (1, "n02123045"),
    ]


def test_a_folder_that_is_not_imagenet_is_refused(root, tmp_path):
    with pytest.raises(ValueError, match=r"folders\.imagenet must be a folder .*nowhere is none; leave it null"):
        with_imagenet(root, str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"folders\.imagenet: .*/cats is not named by a class of ImageNet"):
        with_imagenet(root, imagenet(tmp_path / "imagenet", "cats"))


def test_imagenet_is_no_other_set_of_that_name(root, tmp_path):
    folder = imagenet(tmp_path / "imagenet", "n01440764")
    others = {"imagenet": {"folder": folder, "classnames": None, "templates": ["a {c}."]}}
    folders = {"train": "train", "val": "val", "test": "val", "ood": {}, "others": others, "imagenet": folder}
    with pytest.raises(
        ValueError, match=r"folders\.others\.imagenet has the name of the set folders\.imagenet; rename"
    ):
        data(root, folders=folders)
