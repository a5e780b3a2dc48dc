"""Sets of a suite that have classes of their own, and labels that name training classes."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from tests.data.shards.helpers import CLASSES, TEXTS, rewrite, seen, shards, write
from tracer_lightning.types import ClassTexts

ID = {"folder": "pets", "split": "test", "role": "id"}
SHAPES = ["big circle", "red square", "star", "line"]
OTHER = {"folder": "shapes", "split": "test", "role": "other"}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Shards that each test copies."""
    sets = tmp_path_factory.mktemp("other")
    for split in ("train", "test"):
        write(sets / "pets", split, 12)
    write(sets / "shapes", "test", 9, classes=SHAPES)
    (sets / "shapes/zeroshot_classification_templates.txt").write_text("a drawing of a {c}.\n{c}\n")
    return sets


@pytest.fixture
def root(sets, tmp_path):
    return Path(shutil.copytree(sets, tmp_path / "sets"))


def data(root, suite, **options):
    return shards(root, **({"train": {"folder": "pets", "split": "train"}, "suite": suite} | options))


@pytest.mark.parametrize("stream", [False, True])
def test_a_set_has_the_classes_and_templates_in_its_folder(root, stream):
    module = data(root, {"shapes": OTHER, "pets": ID}, stream=stream)
    other, pets = module.eval_sets
    assert (other.role, other.classes) == ("other", None)
    assert other.texts == ClassTexts(tuple(SHAPES), ("a drawing of a {c}.", "{c}"))
    assert pets.texts is None
    assert module.val_set == pets
    assert list(module.classnames) == CLASSES
    assert module.label_names(other) == SHAPES
    assert module.label_names(pets) == CLASSES
    assert seen(module.test_dataloader()[0]) == [(number, number % 3) for number in range(9)]
    captions = [template.replace("{c}", name) for name in SHAPES for template in ("a drawing of a {c}.", "{c}")]
    tokens = module.spec.tokenize(captions).reshape(4, 2, -1)
    context = module.suite_context()
    assert set(context["own_prompts"]) == {"shapes"}
    prompts = context["own_prompts"]["shapes"]
    assert torch.equal(prompts, tokens[..., : prompts.shape[-1]])
    assert context["prompts"].shape[:2] == (3, 1)
    assert set(module.context()) == {"prompts"}  # what heads and anchors are made from


def test_the_entry_replaces_the_texts_in_the_folder(root):
    for name in ("classnames.txt", "zeroshot_classification_templates.txt"):
        (root / "shapes" / name).unlink()
    own = {"classnames": ["o", "#", "*", "-"], "templates": ["sign {c}"]}
    module = data(root, {"pets": ID, "shapes": OTHER | own})
    assert module.eval_sets[1].texts == ClassTexts(("o", "#", "*", "-"), ("sign {c}",))


def test_labels_may_be_names_of_the_own_classes(root):
    for tar in (root / "shapes/test").glob("*.tar"):
        rewrite(tar, lambda name, content: (name, b"red square" if name.endswith("cls") else content))
    module = data(root, {"pets": ID, "shapes": OTHER})
    assert {label for _, label in seen(module.test_dataloader()[1])} == {1}


def test_pairs_without_classes_take_texts_of_the_first_set_with_training_classes(root):
    write(root / "pairs", "train", 12, classes=[], caption="grey level {}")
    module = data(root, {"shapes": OTHER, "pets": ID}, train={"folder": "pairs", "split": "train"})
    assert list(module.classnames) == CLASSES


def test_suites_without_sets_of_their_own_classes_are_unchanged(root):
    assert set(data(root, {"pets": ID}).suite_context()) == {"prompts"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"classes": [[0]]},
            r"suite\.shapes\.classes must not be set with role other, which means classes of the set's",
        ),
        ({"video": True}, r"suite\.shapes\.video must not be set with role other"),
        ({"role": "ood", "classnames": ["a"]}, r"suite\.shapes\.classnames must not be set with role ood, which means"),
        ({"role": "id", "templates": ["{c}"]}, r"suite\.shapes\.templates must not be set with role id"),
        ({"classnames": []}, r"suite\.shapes\.classnames must be a list of one or more texts, or None, got \[\]"),
        ({"classnames": ["a", 1]}, r"suite\.shapes\.classnames must be a list of one or more texts, or None, got"),
        ({"templates": "{c}"}, r"suite\.shapes\.templates must be a list of one or more texts, or None, got '\{c\}'"),
        ({"templates": ["a"]}, r"suite\.shapes\.templates: template 'a' lacks the placeholder \{c\}"),
        ({"classnames": ["star", "line", *SHAPES[:2]]}, r"suite\.shapes\.classnames has the names of .* another order"),
        ({"classnames": ["a", "b"]}, r"suite\.shapes\.classnames has 2 names, and .*/shapes/classnames\.txt has 4"),
        ({"role": "others"}, r"suite\.shapes\.role must be one of id, ood, other, val, got 'others'"),
    ],
)
def test_invalid_entries_raise_errors(root, entry, message):
    with pytest.raises(ValueError, match=message):
        data(root, {"pets": ID, "shapes": OTHER | entry})


@pytest.mark.parametrize(
    ("field", "file"), [("classnames", "classnames.txt"), ("templates", "zeroshot_classification_templates.txt")]
)
def test_a_set_without_texts_raises_an_error(root, field, file):
    (root / "shapes" / file).unlink()
    message = rf"suite\.shapes\.{field} is not set, and {root}/shapes has no {file}; a set of role other needs {field}"
    with pytest.raises(ValueError, match=message):
        data(root, {"pets": ID, "shapes": OTHER})


def test_a_template_in_the_folder_has_the_placeholder(root):
    (root / "shapes/zeroshot_classification_templates.txt").write_text("{c}\na thing\n")
    with pytest.raises(ValueError, match=r"zeroshot_classification_templates\.txt: line 2: template 'a thing' lacks"):
        data(root, {"pets": ID, "shapes": OTHER})


def test_a_suite_needs_a_set_of_the_training_classes(root):
    with pytest.raises(ValueError, match="suite contains no test set; add one with role id or ood"):
        data(root, {"shapes": OTHER})
    with pytest.raises(ValueError, match="suite contains no test set; add one with role id or ood"):
        data(root, {"shapes": OTHER, "pets": {**ID, "role": "val"}})


def test_labels_cover_classes_by_name(root):
    texts = {**TEXTS, "classnames": ["cat", "Dog", "wild_owl"], "templates": ["{c}"]}
    groups = ["wild owl", ["dog", 0], [1]]
    module = data(root, {"pets": ID, "shift": {**ID, "role": "ood", "classes": groups}}, texts=texts)
    assert module.eval_sets[1].classes == ((2,), (1, 0), (1,))
    assert module.label_names(module.eval_sets[1]) == ["wild_owl", "Dog / cat", "Dog"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            ["cat", "dgo", "owl"],
            r"suite\.shift\.classes contains 'dgo', which no training class is called; .* is 'dog'$",
        ),
        (["cat", ["zebra"], "owl"], r"suite\.shift\.classes contains 'zebra', which no training class is called$"),
        (
            ["cat", "", "owl"],
            r"suite\.shift\.classes must be a list of class indices for each label, or of class names",
        ),
        ("cat", r"suite\.shift\.classes must be a list of class indices for each label, or of class names"),
        (["cat", "dog", [0]], r"suite\.shift\.classes: labels 0 and 2 cover the same training classes, \[0\]"),
    ],
)
def test_names_of_no_training_class_raise_errors(root, groups, message):
    with pytest.raises(ValueError, match=message):
        data(root, {"pets": ID, "shift": {**ID, "role": "ood", "classes": groups}})


def test_a_name_of_several_classes_raises_an_error(root):
    texts = {**TEXTS, "classnames": ["crane", "dog", "crane"], "templates": ["{c}"]}
    shift = {**ID, "role": "ood", "classes": ["dog", "crane", [2]]}
    message = r"contains 'crane', the name of the training classes 0 and 2; write \[0\] or \[2\] instead"
    with pytest.raises(ValueError, match=message):
        data(root, {"pets": ID, "shift": shift}, texts=texts)


@pytest.mark.parametrize("names", [["Owl", "cat"], ["it's: a, b", "no"], ["cat"]])
def test_an_error_lists_the_classes_of_a_subset(root, names):
    """What the error says to write is accepted."""
    training = ["cat", "no", "it's: a, b", "owl"]
    shutil.rmtree(root / "pets")
    for split in ("train", "test"):
        write(root / "pets", split, 12, classes=training)
    write(root / "part", "test", len(names), classes=names)
    shift = {"folder": "part", "split": "test", "role": "ood"}
    with pytest.raises(
        ValueError, match=rf"suite\.part: part has {len(names)} classes, but 4 are expected; they"
    ) as error:
        data(root, {"pets": ID, "part": shift})
    written = yaml.safe_load(str(error.value).partition("so write ")[2])
    module = data(root, {"pets": ID, "part": shift | written})
    lower = [name.lower() for name in training]
    assert module.eval_sets[1].classes == tuple((lower.index(name.lower()),) for name in names)


def test_a_label_of_a_repeated_name_covers_all_classes_of_that_name(root):
    training = ["crane", "dog", "crane"]
    shutil.rmtree(root / "pets")
    for split in ("train", "test"):
        write(root / "pets", split, 12, classes=training)
    write(root / "part", "test", 2, classes=["dog", "crane"])
    with pytest.raises(ValueError, match=r"they are training classes, so write classes: \[dog, \[0, 2\]\]"):
        data(root, {"pets": ID, "part": {"folder": "part", "split": "test", "role": "ood"}})


def test_classes_that_are_no_subset_are_not_listed(root):
    write(root / "part", "test", 2, classes=["cat", "bat"])
    shift = {"folder": "part", "split": "test", "role": "ood"}
    with pytest.raises(
        ValueError, match=r"suite\.part: part has 2 classes, but 3 are expected; a set with classes of its own has role"
    ):
        data(root, {"pets": ID, "part": shift})
