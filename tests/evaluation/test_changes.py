import pytest
import torch
from torch import nn

from tracer_lightning.evaluation.changes import COUNTS, FORGOTTEN, LEARNED, Changes
from tracer_lightning.evaluation.logits import Classifier, image_logits
from tracer_lightning.types import Batch, ClassTexts, EvalSet

CLASSES, WIDTH = 4, 6
SETS = [EvalSet("one", "test", "id"), EvalSet("two", "test", "ood", classes=((0, 1), (2,), (3,)))]


class Model(nn.Module):
    """Features of images (B, 3, 1, 2) are their numbers; texts are rows of a table."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.texts = nn.Parameter(torch.randn(CLASSES, WIDTH, generator=generator))
        self.logit_scale = torch.tensor(2.0)
        self.head = None

    def encode_image(self, images):
        return nn.functional.normalize(images.flatten(1), dim=-1)

    def encode_text(self, tokens):
        return nn.functional.normalize(self.texts[tokens[:, 0]], dim=-1)


def prompts():
    return torch.arange(CLASSES).view(CLASSES, 1, 1)


def batches(seed, count=90, classes=CLASSES):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 1, 2, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    labels[::13] = -1
    indices = torch.arange(count)
    return [
        Batch(*parts[:1], torch.zeros(0), *parts[1:])
        for parts in zip(*(values.split(25) for values in (images, labels, indices)), strict=True)
    ]


@pytest.fixture(scope="module")
def results():
    pair = [Classifier(Model(seed), prompts()) for seed in (1, 2)]
    changes = Changes(SETS, *pair, keep=3)
    inputs = [batches(3), batches(4, classes=3)]
    for place, set_batches in enumerate(inputs):
        for batch in set_batches:
            changes.update(batch, place)
    return pair, inputs, changes.finish()


def naive(pair, inputs, groups):
    """Counts and candidates of one data set, one image at a time."""
    counts, candidates = dict.fromkeys(COUNTS, 0), {FORGOTTEN: [], LEARNED: []}
    for batch in inputs:
        for image, label, index in zip(batch.images, batch.labels.tolist(), batch.indices.tolist(), strict=True):
            if label < 0:
                continue
            p = []
            for model in pair:
                logits = (model.model.encode_image(image[None]) @ model.head.T)[0] * 2.0
                logits = torch.stack([max(logits[member] for member in group) for group in groups])
                p.append(logits.softmax(dim=-1))
            was, now = (int(row.argmax()) for row in p)
            if was == label:
                name = "right_right" if now == label else FORGOTTEN
            else:
                name = LEARNED if now == label else "wrong_same" if was == now else "wrong_other"
            counts[name] += 1
            if name in candidates:
                candidates[name].append((-abs(float(p[1][label] - p[0][label])), index, was, now))
    return counts, {name: sorted(entries)[:3] for name, entries in candidates.items()}


@pytest.mark.parametrize(("place", "groups"), [(0, ((0,), (1,), (2,), (3,))), (1, ((0, 1), (2,), (3,)))])
def test_counts_and_samples_match_a_naive_loop(results, place, groups):
    pair, inputs, changes = results
    counts, candidates = naive(pair, inputs[place], groups)
    set_changes = changes[SETS[place].name]
    assert set_changes.counts == counts
    assert all(counts[name] > 2 for name in COUNTS)
    for name, shown in set_changes.images.items():
        assert [(change.position, change.before.label, change.after.label) for change in shown] == [
            tuple(entry[1:]) for entry in candidates[name]
        ]
        for change, entry in zip(shown, candidates[name], strict=True):
            assert change.rank[0] == pytest.approx(entry[0], abs=1e-6)
            image = torch.cat([batch.images for batch in inputs[place]])[change.position]
            torch.testing.assert_close(change.image, image)
            assert change.image.untyped_storage().nbytes() == image.numel() * 4  # not the batch


def test_ties_are_broken_by_position_in_any_order_of_batches():
    pair = [Classifier(Model(seed), prompts()) for seed in (1, 2)]
    results = []
    for order in (1, -1):
        changes = Changes(SETS[:1], *pair, keep=4)
        for batch in batches(3)[::order]:
            changes.update(batch, 0)
            changes.update(batch._replace(indices=batch.indices + 1000), 0)  # the same images again
        results.append(changes.finish()["one"])
    assert results[0].counts == results[1].counts
    for name in (FORGOTTEN, LEARNED):
        first, second = ([change.position for change in set_changes.images[name]] for set_changes in results)
        assert first == second
        assert first[1] == first[0] + 1000


def test_a_head_of_its_own_counts_unless_it_is_left_aside():
    model = Model(1)
    model.head = nn.Linear(WIDTH, CLASSES)
    model.classify = model.head
    images = torch.randn(5, 3, 1, 2)
    torch.testing.assert_close(Classifier(model, prompts())(images), model.head(model.encode_image(images)))
    zero_shot = Classifier(model, prompts(), zero_shot=True)
    torch.testing.assert_close(zero_shot(images), image_logits(model, zero_shot.head, images))
    assert not torch.allclose(zero_shot(images), Classifier(model, prompts())(images))


def test_sets_with_classes_of_their_own_are_compared_among_these():
    """Classes 2 and 3 of the others' four, so that a plain comparison of models with these prompts is the same."""
    own = EvalSet("own", "test", "other", texts=ClassTexts(("c", "d"), ("{c}",)))
    own_prompts = {"own": prompts()[2:]}
    before, after = Model(1), Model(2)
    after.head = nn.Linear(WIDTH, CLASSES)
    after.classify = after.head
    changes = Changes([SETS[0], own], Classifier(before, prompts()), Classifier(after, prompts()), 3, own_prompts)
    plain = Changes(
        [own._replace(texts=None)], *(Classifier(model, prompts()[2:], True) for model in (before, after)), 3
    )
    for batch in batches(4, classes=2):
        changes.update(batch, 1)
        plain.update(batch, 0)
    assert changes.finish()["own"].counts == plain.finish()["own"].counts
    assert changes.models["one"][1].head is None
    assert changes.models["own"][1].head.shape == (2, WIDTH)
