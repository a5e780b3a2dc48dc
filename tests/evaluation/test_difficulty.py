import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tracer_lightning.evaluation import difficulty as module
from tracer_lightning.evaluation.difficulty import (
    CHUNK,
    correct_pairs,
    difficulty,
    iimm,
    labelled,
    mean_pairwise_cosine,
    silhouettes,
    wrong_pair_cosine,
)


def by_hand():
    """Two images and two texts in the plane, one of each in each class."""
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [-1.0, 0.0]])
    return labelled(images, torch.tensor([0, 1]), texts)


def random(n=60, classes=5, groups=None, seed=0, gap=0.0, spread=1.0):
    """Images around the texts of their labels, ``gap`` away from all texts."""
    generator = torch.Generator().manual_seed(seed)
    texts = spread * torch.randn(classes, 8, generator=generator, dtype=torch.double)
    owners = groups or [(number,) for number in range(classes)]
    labels = torch.arange(n) % len(owners)
    centres = torch.stack([texts[list(owners[label])].mean(dim=0) for label in labels])
    images = centres + torch.randn(n, 8, generator=generator, dtype=torch.double)
    offset = gap * F.one_hot(torch.tensor(0), 8)
    return labelled(F.normalize(images + offset, dim=1), labels, F.normalize(texts - offset, dim=1), groups)


def test_values_by_hand():
    """Cosine distances: 1 between images, 1.6 between texts, 0.4 and 2 from the first, 0.2 and 1 from the second."""
    features = by_hand()
    assert correct_pairs(features) == pytest.approx((0.5, (0.6 + 0.0) / 2))
    assert wrong_pair_cosine(features) == pytest.approx((-1.0 + 0.8) / 2)
    assert mean_pairwise_cosine(features.images) == pytest.approx(0.0)
    assert iimm(features) == pytest.approx(-0.05)
    by_modality, by_class = silhouettes(features)
    assert by_modality == pytest.approx((0.2 / 1.2 - 0.4 / 1.0 - 1.3 / 1.6 - 0.1 / 1.6) / 4)
    assert by_class == pytest.approx((1.1 / 1.5 + 0.5 / 0.9 - 0.4 / 1.0 + 0.8 / 1.8) / 4)


def naive_silhouette(points, clusters):
    distances = 1 - points @ points.T
    values = []
    for i, own in enumerate(clusters):
        mates = [j for j, cluster in enumerate(clusters) if cluster == own and j != i]
        others = [[j for j, cluster in enumerate(clusters) if cluster == label] for label in set(clusters) - {own}]
        if not mates:
            values.append(0.0)
            continue
        a, b = distances[i, mates].mean(), min(distances[i, members].mean() for members in others)
        values.append((b - a) / max(a, b))
    return np.mean(values)


@pytest.mark.parametrize("groups", [None, [(3,), (0, 1), (4,)]])
def test_values_against_naive_ones(groups):
    features = random(groups=groups)
    images, texts, labels = features.images.numpy(), features.texts.numpy(), features.labels.tolist()
    covered = range(5) if groups is None else [0, 1, 3, 4]
    owner = {number: label for label, group in enumerate(features.groups) for number in group}
    cosines = images @ texts.T
    result = difficulty(features)
    best = [[max(row[list(group)]) for group in features.groups] for row in cosines]
    own = [row[label] for row, label in zip(best, labels, strict=True)]
    wrong = [
        np.mean([row[number] for number in covered if owner[number] != label])
        for row, label in zip(cosines, labels, strict=True)
    ]
    pairs = [images[i] @ images[j] for i in range(len(images)) for j in range(i)]
    assert result["n"] == 60
    assert result["accuracy"] == np.mean([np.argmax(row) == label for row, label in zip(best, labels, strict=True)])
    assert result["correct_pair_cosine"] == pytest.approx(np.mean(own), abs=1e-12)
    assert result["iimm"] == pytest.approx((np.mean(wrong) + np.mean(pairs)) / 2, abs=1e-12)
    points = np.concatenate([images, texts[list(covered)]])
    modality = naive_silhouette(points, [0] * len(images) + [1] * len(covered))
    classes = naive_silhouette(points, labels + [owner[number] for number in covered])
    assert result["silhouette_by_modality"] == pytest.approx(modality, abs=1e-12)
    assert result["silhouette_by_class"] == pytest.approx(classes, abs=1e-12)


def test_a_wider_gap_raises_the_one_reading_and_lowers_the_other():
    narrow, wide = (silhouettes(random(gap=gap)) for gap in (0.0, 3.0))
    assert wide[0] > narrow[0] + 0.1
    assert wide[1] < narrow[1] - 0.1


def test_classes_further_apart_raise_the_reading_by_class():
    mixed, apart = (silhouettes(random(spread=spread))[1] for spread in (0.5, 4.0))
    assert apart > mixed + 0.1


def test_chunks_do_not_change_the_values():
    features = random(n=CHUNK + 7)
    cosines = features.images @ features.texts.T
    accuracy = (cosines.argmax(dim=1) == features.labels).double().mean().item()
    own = cosines.gather(1, features.labels[:, None]).mean().item()
    assert correct_pairs(features) == pytest.approx((accuracy, own), abs=1e-12)


def test_large_sets_are_sampled_with_a_seed(monkeypatch):
    features = random(n=200)
    assert silhouettes(features, seed=0) == silhouettes(features, seed=1)
    monkeypatch.setattr(module, "SAMPLE", 50)
    first, repeated, reseeded = (silhouettes(features, seed) for seed in (0, 0, 1))
    assert first == repeated
    assert first != reseeded
    chosen = torch.randperm(200, generator=torch.Generator().manual_seed(0))[:50].sort().values
    part = labelled(features.images[chosen], features.labels[chosen], features.texts)
    assert first == pytest.approx(silhouettes(part))
    assert first == pytest.approx(silhouettes(random(n=200)), abs=0.1)
    assert difficulty(features)["iimm"] == pytest.approx(iimm(random(n=200)))  # of all images


def test_one_label_has_no_wrong_texts_and_no_other_class():
    features = random(classes=1)
    result = difficulty(features)
    assert result["accuracy"] == 1.0
    assert (result["silhouette_by_class"], result["iimm"]) == (None, None)
    assert result["silhouette_by_modality"] == pytest.approx(
        naive_silhouette(np.concatenate([features.images, features.texts]), [0] * 60 + [1])
    )


def test_images_of_one_label_among_several():
    features = random()
    result = difficulty(features._replace(labels=torch.zeros_like(features.labels)))
    assert result["silhouette_by_class"] is None
    assert result["iimm"] is not None


@pytest.mark.parametrize(("classes", "expected"), [(1, None), (3, 0.0)])
def test_one_image(classes, expected):
    result = difficulty(random(n=1, classes=classes))
    assert (result["iimm"], result["silhouette_by_class"]) == (None, None)
    assert (result["silhouette_by_modality"] is None) == (expected is None)


def test_classes_with_one_image_or_none():
    features = random(n=20, classes=4)
    labels = torch.tensor([0, 1, *[2] * 18])
    result = difficulty(features._replace(labels=labels))
    points = np.concatenate([features.images, features.texts])
    expected = naive_silhouette(points, [*labels.tolist(), 0, 1, 2, 3])
    assert result["silhouette_by_class"] == pytest.approx(expected, abs=1e-12)


def test_a_class_that_two_labels_cover_is_wrong_for_neither():
    features = random(classes=3, groups=[(0, 1), (1, 2)])
    cosines = features.images @ features.texts.T
    assert wrong_pair_cosine(features) == pytest.approx(
        np.mean([row[2 if label == 0 else 0] for row, label in zip(cosines, features.labels.tolist(), strict=True)])
    )


def test_single_precision_is_widened_first():
    features = random(n=500)
    single = labelled(features.images.float(), features.labels, features.texts.float())
    assert difficulty(single) == pytest.approx(difficulty(features), abs=1e-6)


def test_empty_or_non_finite_features_raise_errors():
    features = random()
    with pytest.raises(ValueError, match="there are no images"):
        labelled(features.images[:0], features.labels[:0], features.texts)
    with pytest.raises(ValueError, match="not finite; choose another checkpoint"):
        labelled(features.images / 0, features.labels, features.texts)
    with pytest.raises(ValueError, match="not finite"):
        labelled(features.images, features.labels, features.texts * torch.nan)
