"""Suites of shards: members, label spaces, patterns, pairs of images and captions, timm's layout."""

import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from tests.data.shards.helpers import CLASSES, TEXTS, rewrite, seen, shards, write
from tracer_lightning.data import imagenet_a_classes, imagenet_r_classes, objectnet_classes

ID = {"folder": "pets_photo", "split": "test", "role": "id"}


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """Shards that each test copies."""
    sets = tmp_path_factory.mktemp("pets")
    for name, size in (("photo", 30), ("line_art", 12), ("sketch", 9)):
        for split in ("train", "test"):
            write(sets / f"pets_{name}", split, size)
    return sets


@pytest.fixture
def root(pets, tmp_path):
    return Path(shutil.copytree(pets, tmp_path / "sets"))


def data(root, suite, **options):
    defaults = {"train": {"folder": "pets_photo", "split": "train"}, "suite": suite}
    return shards(root, **(defaults | options))


def test_a_pattern_stands_for_every_other_folder(root):
    module = data(root, {"photo": ID, "rest": {"folder": "pets_*", "split": "test", "role": "ood"}})
    assert [(entry.name, entry.role) for entry in module.eval_sets] == [
        ("photo", "id"), ("line_art", "ood"), ("sketch", "ood"),
    ]  # fmt: skip
    write(root / "pets_clay", "test", 5)
    assert [entry.name for entry in data(root, {"rest": {**ID, "folder": "pets_*"}}).eval_sets] == [
        "clay", "line_art", "photo", "sketch",
    ]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_training_on_several_folders_names_the_domain_of_each(root, stream):
    texts = {**TEXTS, "train_templates": ["a {d} of a {c}."]}
    suite = {"all": {**ID, "folder": "pets_*"}}
    train = {"folder": "pets_*", "split": "train"}
    module = data(root, suite, train=train, texts=texts, stream=stream, batch_size=51, streams=1)
    assert module.domains == ["line art", "photo", "sketch"]
    (batch,) = list(module.train_dataloader())
    assert seen([batch]) == sorted((n, n % 3) for size in (30, 12, 9) for n in range(size))
    names = [f"a {domain} of a {CLASSES[c]}." for domain in module.domains for c in range(3)]
    rows = module.spec.tokenize(names)[:, : batch.texts.shape[1]]
    result = [(rows == text).all(dim=1).nonzero().item() for text in batch.texts[batch.text_of]]
    assert [row % 3 for row in result] == batch.labels.tolist()
    assert [result.count(row) for row in range(9)] == [4, 4, 4, 10, 10, 10, 3, 3, 3]
    assert module.prompts().shape[:2] == (3, 1)  # the head knows no domains


def test_a_domain_needs_a_name(root):
    with pytest.raises(ValueError, match=r"template 'a \{d\} of \{c\}' names a domain, but there are no domains; only"):
        data(root, {"photo": ID}, texts={**TEXTS, "train_templates": ["a {d} of {c}"]}).train_dataloader()


def test_folders_of_one_training_set_have_the_same_classes(root):
    (root / "pets_sketch/classnames.txt").write_text("cat\ndog\nbat\n")
    with pytest.raises(ValueError, match=r"train: pets_sketch calls class 2 'bat'"):
        data(root, {"photo": ID}, train={"folder": "pets_*", "split": "train"})


def test_the_val_set_is_watched_and_not_tested(root):
    module = data(root, {"watched": {**ID, "split": "train", "role": "val"}, "photo": ID})
    assert (module.val_set.name, module.val_set.role) == ("watched", "id")
    assert [entry.name for entry in module.eval_sets] == ["photo"]
    assert len(seen(module.val_dataloader())) == 30
    with pytest.raises(ValueError, match="contains no test set"):
        data(root, {"watched": {**ID, "role": "val"}})


def test_the_validation_set_is_not_a_test_set(root):
    (root / "alias").symlink_to(root / "pets_photo")
    for folder in ("pets_photo", "alias", str(root / "pets_photo")):
        with pytest.raises(ValueError, match=r"suite\.watched and suite\.photo are the same images; a set"):
            data(root, {"watched": {**ID, "folder": folder, "role": "val"}, "photo": ID})


def test_a_different_number_of_class_names_raises_an_error(root):
    texts = {**TEXTS, "classnames": ["cat", "dog"]}
    with pytest.raises(ValueError, match=r"pets_photo has 3 classes, but 2 are expected in texts\.classnames"):
        data(root, {"photo": ID}, texts=texts)
    for name in root.iterdir():
        (name / "classnames.txt").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"0\.tar has the label 2, of 2 classes in texts\.classnames"):
        data(root, {"photo": ID}, texts=texts).setup("fit")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"role": "OOD"}, r"suite\.photo\.role must be one of id, ood, other, val, got 'OOD'"),
        ({"spit": "test"}, r"suite\.photo must have folder, role"),
        ({"split": None}, r"suite\.photo needs either split or shards"),
        ({"shards": "{0..3}.tar"}, r"suite\.photo needs either split or shards"),
        ({"border": -1}, r"suite\.photo\.border must be a number of pixels"),
        ({"samples": 0}, r"suite\.photo\.samples must be >= 1 or None"),
        ({"folder": "dogs_*"}, r"contains no folder dogs_\*"),
        ({"folder": "pets_clay"}, r"contains no folder pets_clay"),
    ],
)
def test_invalid_arguments_raise_errors(root, entry, message):
    with pytest.raises(ValueError, match=message):
        data(root, {"photo": ID | entry}).setup("fit")


def test_two_sets_have_two_names(root):
    suite = {"rest": {"folder": "pets_*", "split": "test", "role": "ood"}, "sketch": {**ID, "role": "ood"}}
    with pytest.raises(ValueError, match="suite has two sets called sketch; rename one of them"):
        data(root, suite)


def test_the_head_names_no_domains(root):
    suite, texts = {"all": {**ID, "folder": "pets_*"}}, {**TEXTS, "templates": ["a {d} of a {c}."]}
    module = data(root, suite, train={"folder": "pets_*", "split": "train"}, texts=texts)
    with pytest.raises(ValueError, match=r"names a domain, but there are no domains; only train_templates of several"):
        module.prompts()


@pytest.mark.parametrize("classes", [[0, 1, 2], [[0], [], [2]], [[0.5], [1], [2]], [[-1], [1], [2]], []])
def test_malformed_classes_raise_errors(root, classes):
    with pytest.raises(ValueError, match=r"suite\.photo\.classes must be a list of class indices for each label"):
        data(root, {"photo": {**ID, "classes": classes}})


def test_class_names_of_the_configuration_are_as_many_as_the_training_set_has(root):
    texts = {**TEXTS, "classnames": ["a", "b", "c", "d", "e"], "templates": ["{c}"]}
    with pytest.raises(ValueError, match=r"train: pets_photo has 3 classes, but 5 are expected"):
        data(root, {"photo": ID}, texts=texts)


def test_test_sets_have_classes(root):
    write(root / "pairs", "test", 5, classes=[], caption="grey level {}")
    pairs = {"folder": "pairs", "split": "test"}
    with pytest.raises(ValueError, match="pairs in suite names no classes"):
        data(root, {"photo": {**ID, "folder": "pairs"}}, train=pairs)
    (root / "pairs/classnames.txt").write_text("\n".join(CLASSES))
    for stream in (False, True):
        module = data(root, {"photo": {**ID, "folder": "pairs"}}, stream=stream, streams=1)
        with pytest.raises(ValueError, match="caption but no class; a test set needs classes"):
            list(module.test_dataloader()[0])


def test_places_lie_below_their_folders(root):
    with pytest.raises(ValueError, match=r"suite\.photo: \.\./x\.tar must be a relative path within its folder"):
        data(root, {"photo": {"folder": "pets_photo", "shards": "../x.tar", "role": "id"}})


def test_labels_cover_classes_that_exist(root):
    shift = {"folder": "pets_sketch", "split": "test", "role": "ood", "classes": [[0], [1, 3], [2]]}
    with pytest.raises(ValueError, match=r"suite\.shift\.classes contains class 3, but there are 3"):
        data(root, {"photo": ID, "shift": shift})


def test_counts_are_checked(root):
    module = data(root, {"photo": {**ID, "samples": 31}})
    with pytest.raises(
        ValueError, match=r"suite\.photo: .*contains 30 samples, but 31 are expected; .*samples to None"
    ):
        module.setup("fit")
    data(root, {"photo": {**ID, "samples": 30}}).setup("fit")
    module = data(root, {"photo": ID}, train={"folder": "pets_photo", "split": "train", "samples": 50})
    with pytest.raises(ValueError, match=r"train: .* contains 30 samples, but 50 are expected"):
        module.setup("fit")


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split_raises_an_error_in_setup(root, split):
    for tar in (root / f"pets_photo/{split}").glob("*.tar"):
        tar.unlink()
    with tarfile.open(root / f"pets_photo/{split}/0.tar", "w"):
        pass
    (root / f"pets_photo/{split}/nshards.txt").write_text("1\n")
    with pytest.raises(ValueError, match=rf"pets_photo/{split} contains no sample"):
        data(root, {"photo": ID}).setup("fit")


def test_a_batch_larger_than_the_data_raises_an_error_in_setup(root):
    with pytest.raises(ValueError, match=r"batch_size=31 is larger than the training set of 30"):
        data(root, {"photo": ID}, batch_size=31).setup("test")


@pytest.mark.parametrize(
    ("classes", "count"), [(imagenet_a_classes, 200), (imagenet_r_classes, 200), (objectnet_classes, 113)]
)
def test_shifts_of_imagenet_have_their_own_labels(root, classes, count):
    texts = {**TEXTS, "classnames": [f"class {number}" for number in range(1000)], "templates": ["{c}"]}
    write(root / "shift", "test", 12, classes=[f"name {number}" for number in range(count)])
    (root / "pets_photo/classnames.txt").unlink()  # as in timm's layout
    shift = {"folder": "shift", "split": "test", "role": "ood", "classes": classes(), "border": 2}
    module = data(root, {"photo": ID, "shift": shift}, texts=texts)
    assert module.eval_sets[1].classes == classes()
    assert module.eval_transform(module.eval_sets[1]).border == 2
    assert len(module.classnames) == 1000
    assert seen(module.test_dataloader()[1]) == [(number, number % 3) for number in range(12)]
    write(root / "wrong", "test", 12, classes=[f"name {number}" for number in range(1000)])
    with pytest.raises(ValueError, match=rf"suite\.shift: wrong has 1000 classes, but {count} are expected"):
        data(root, {"photo": ID, "shift": shift | {"folder": "wrong"}}, texts=texts)
    with pytest.raises(ValueError, match=rf"suite\.shift: shift has {count} classes, but 1000 are expected"):
        data(root, {"photo": ID, "shift": shift | {"classes": None}}, texts=texts)
    rewrite(root / "shift/test/0.tar", lambda name, content: (name, b"900" if name.endswith("cls") else content))
    with pytest.raises(ValueError, match=rf"0\.tar has the label 900, of {count} classes"):
        data(root, {"photo": ID, "shift": shift}, texts=texts).setup("fit")


@pytest.mark.parametrize("stream", [False, True])
def test_pairs_train_with_their_own_captions(root, stream):
    write(root / "pairs", "train", 20, classes=[], caption="grey level {}")
    train = {"folder": "pairs", "split": "train"}
    module = data(root, {"photo": ID}, train=train, batch_size=20, stream=stream, streams=1)
    assert list(module.classnames) == CLASSES  # those of the suite
    (batch,) = list(module.train_dataloader())
    assert (batch.labels == -1).all()
    captions = [f"grey level {round(image.float().mean().item())}" for image in batch.images]
    assert torch.equal(batch.texts, module.spec.tokenize(captions)[:, : batch.texts.shape[1]])


@pytest.mark.parametrize("stream", [False, True])
def test_the_layout_of_timm(root, stream):
    """Numbered tars of jpg, cls and json, without texts of their own."""
    layout = root / "imagenet-1k-wds"
    layout.mkdir()

    def as_timm(name, content):
        name = name.replace("s000", "n0144/n0144_")
        return [(name, content), (name.replace("cls", "json"), b"{}")] if name.endswith("cls") else (name, content)

    for number in range(4):
        source = root / f"pets_photo/train/{number}.tar"
        rewrite(source, as_timm)
        source.rename(layout / f"imagenet1k-train-{number:04d}.tar")
    train = {"folder": "imagenet-1k-wds", "shards": "imagenet1k-train-{0000..0003}.tar", "samples": 30}
    texts = {**TEXTS, "classnames": CLASSES, "templates": ["a {c}."]}
    module = data(root, {"photo": ID}, train=train, texts=texts, stream=stream, streams=1)
    assert seen(module.train_dataloader()) == [(number, number % 3) for number in range(30)]
    missing = {**train, "shards": "imagenet1k-train-{0000..0004}.tar"}
    with pytest.raises(ValueError, match=r"no .*imagenet1k-train-0004\.tar"):
        data(root, {"photo": ID}, train=missing, texts=texts, stream=stream, streams=1).setup("fit")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {},
            r"suite\.sketch: the training set has the names of pets_sketch/classnames\.txt in another order: class 0 "
            r"is 'dog' there, and not 'cat'; give the classes of its labels in suite\.sketch\.classes",
        ),
        (
            {"classes": ["kitten", "puppy", "bird"]},
            r"suite\.sketch\.classes has the names of pets_sketch/classnames\.txt in another order: class 0 is 'dog'",
        ),
    ],
)
def test_classes_of_a_test_set_in_another_order_raise_errors(root, entry, message):
    """Labels would mean other classes, unnoticed, where ``texts.classnames`` replaces the names of all sets."""
    (root / "pets_sketch/classnames.txt").write_text("dog\nCat\nowl\n")
    suite = {"photo": ID, "sketch": {"folder": "pets_sketch", "split": "test", "role": "ood"}}
    texts = {**TEXTS, "classnames": ["kitten", "puppy", "bird"], "templates": ["{c}"]}
    with pytest.raises(ValueError, match=message):
        data(root, {**suite, "sketch": suite["sketch"] | entry}, texts=texts)
    module = data(root, {**suite, "sketch": suite["sketch"] | {"classes": [[1], [0], [2]]}}, texts=texts)
    assert module.eval_sets[1].classes == ((1,), (0,), (2,))


def test_names_of_the_training_classes_in_another_order_raise_errors(root):
    texts = {**TEXTS, "classnames": ["owl", "dog", "cat"]}
    message = r"texts\.classnames has the names of pets_photo/classnames\.txt in another order: class 0 is 'cat' there"
    with pytest.raises(ValueError, match=rf"{message}, and not 'owl'; write them in the same order"):
        data(root, {"photo": ID}, texts=texts)
    (root / "pets_sketch/classnames.txt").write_text("dog\ncat\nowl\n")
    with pytest.raises(ValueError, match=r"train: pets_line_art has the names of pets_sketch/classnames\.txt"):
        data(root, {"photo": ID}, train={"folder": "pets_*", "split": "train"})
