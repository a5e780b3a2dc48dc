import csv
from importlib.resources import files

import timm.data
from timm.data import ImageNetInfo

from tracer_lightning.data import (
    imagenet_a_classes,
    imagenet_classnames,
    imagenet_r_classes,
    imagenet_templates,
    objectnet_classes,
    released_classnames,
    released_templates,
)

WNIDS = ImageNetInfo("imagenet-1k")._synsets


def test_texts():
    assert len(imagenet_classnames()) == 1000
    assert len(imagenet_templates()) == 80
    assert all("{c}" in template for template in imagenet_templates())


def test_released_texts():
    """Eight names of the heads differ from those of the captions, and six templates are more."""
    names, released = imagenet_classnames(), released_classnames()
    assert [(number, name) for number, name in enumerate(released) if name != names[number]] == [
        (201, "Silky Terrier"), (227, "Kelpie"), (638, "maillot"), (639, "tank suit"),
        (692, "product packet"), (744, "projectile"), (837, "dark glasses"), (911, "woolen"),
    ]  # fmt: skip
    templates = released_templates()
    assert templates[:80] == imagenet_templates()
    assert (len(set(templates)), templates[-1]) == (86, "a photo containing a faint {c}.")


def test_subsets_are_those_of_timm():
    for name, classes in (("a", imagenet_a_classes()), ("r", imagenet_r_classes())):
        indices = (files(timm.data) / "_info" / f"imagenet_{name}_indices.txt").read_text().replace(",", " ").split()
        assert [group for (group,) in classes] == sorted(int(index) for index in indices)
        assert len(classes) == 200
    assert imagenet_a_classes()[:3] == ((6,), (11,), (13,))  # stingray, goldfinch, junco
    assert imagenet_r_classes()[:3] == ((1,), (2,), (4,))  # goldfish, great white shark, hammerhead
    assert imagenet_classnames()[6] == "stingray"


def test_objectnet_covers_several_classes_with_some_labels():
    classes = objectnet_classes()
    assert len(classes) == 113
    assert sum(len(group) for group in classes) == 125
    assert sum(len(group) > 1 for group in classes) == 9
    table = files("tracer_lightning.data.images") / "label_spaces" / "objectnet.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["folder"] for row in rows] == sorted(row["folder"] for row in rows)
    for group, row in zip(classes, rows, strict=True):
        assert [WNIDS[index] for index in group] == row["wnids"].split()
