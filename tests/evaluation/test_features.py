import pytest
import torch
import torch.distributed as dist

from tests.conftest import tiny_backbone
from tests.ranks import run_ranks
from tracer_lightning.evaluation.features import CollectedFeatures, FeatureModule, FeaturePredictor
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.types import Batch


def batches():
    """Twice eight images, the last two of them padding, in an order that two ranks could have."""
    for part in range(2):
        images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(part))
        labels = torch.tensor([0, 1, 2, 0, 1, 2, -1, -1])
        indices = torch.tensor([*range(part, 12, 2), -1, -1])
        yield Batch(images, torch.zeros(8, 0, dtype=torch.long), labels, indices)


def test_features_of_every_model_and_set_without_padding_in_the_order_of_the_set(backbone):
    prompts = backbone.spec.tokenize(["one", "two", "three"]).reshape(3, 1, -1)
    negated = torch.nn.Module()
    negated.encode_image, negated.encode_text = (
        (lambda x: -backbone.model.encode_image(x)),
        backbone.model.encode_text,
    )
    module = FeatureModule({"a": backbone.model, "b": negated}, ["first", "second"], prompts)
    module.on_test_epoch_start()
    for place in (0, 1):
        for number, batch in enumerate(batches()):
            module.test_step(batch._replace(images=batch.images + place), number, place)
    module.on_test_epoch_end()
    torch.testing.assert_close(module.texts["a"], zero_shot_head(backbone.model.encode_text, prompts))
    assert not module.state_dict().keys() & {"prompts"}
    first, second = batches()
    for place, name in enumerate(("first", "second")):
        images, labels = module.images["a"][name]
        expected = torch.stack([first.images[:6], second.images[:6]], dim=1).flatten(0, 1) + place
        torch.testing.assert_close(images, backbone.model.encode_image(expected).detach())
        assert labels.tolist() == [0, 0, 1, 1, 2, 2] * 2
        assert not images.requires_grad
        torch.testing.assert_close(module.images["b"][name].images, -images)


def test_texts_of_sets_with_classes_of_their_own(backbone):
    prompts, own = (backbone.spec.tokenize(names).reshape(len(names), 1, -1) for names in (["one", "two"], ["a b"]))
    module = FeatureModule({"m": backbone.model}, ["first", "second"], prompts, {"second": own})
    module.on_test_epoch_start()
    assert set(module.own_texts["m"]) == {"second"}
    torch.testing.assert_close(module.own_texts["m"]["second"], zero_shot_head(backbone.model.encode_text, own))


@pytest.mark.parametrize("size", [0, 1])
def test_a_set_of_padding_alone_is_empty_and_one_image_is_a_set(size):
    metric = CollectedFeatures()
    places = torch.tensor([3, -1, -1])[1 - size :]
    metric.update(torch.ones(len(places), 4), places, places)
    images, labels = metric.ordered()
    assert (images.shape, labels.tolist()) == ((size, 4), [3][:size])


def test_equal_names_raise_errors(backbone):
    with pytest.raises(ValueError, match="names must be distinct, got a twice"):
        FeatureModule({"m": backbone.model}, ["a", "b", "a"], torch.zeros(2, 1, 8).long())


SHARES = {0: slice(0, 3), 1: slice(3, 4)}
"""Streams end where they end: one process has three images left, and one has padding."""


def predicted(share):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))[share]
    labels = torch.tensor([2, 0, 1, -1])[share]
    module = FeaturePredictor(tiny_backbone().model.eval())
    module.predict_step(Batch(images, torch.zeros(len(images), 0), labels, labels), 0)
    module.on_predict_epoch_end()
    return tuple(module.images)


def worker(rank, rendezvous, result_file):
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=len(SHARES))
    torch.set_num_threads(1)
    torch.save(predicted(SHARES[rank]), f"{result_file}{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_every_process_has_the_features_of_all_though_batches_differ_in_size(tmp_path):
    run_ranks(worker, (tmp_path / "rendezvous", tmp_path / "features"), len(SHARES))
    features, labels = predicted(slice(0, 4))
    assert not features.requires_grad
    assert labels.tolist() == [0, 1, 2]
    for rank in SHARES:
        gathered = torch.load(f"{tmp_path}/features{rank}", weights_only=True)
        torch.testing.assert_close(gathered[0], features)
        assert torch.equal(gathered[1], labels)
