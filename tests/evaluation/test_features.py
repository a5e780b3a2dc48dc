import pytest
import torch

from tracer_lightning.evaluation.features import Collected, FeatureModule
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.types import Batch


def batches():
    """Twice eight pictures, the last two of them padding, in an order that two ranks could have."""
    for part in range(2):
        images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(part))
        labels = torch.tensor([0, 1, 2, 0, 1, 2, -1, -1])
        indices = torch.tensor([*range(part, 12, 2), -1, -1])
        yield Batch(images, torch.zeros(8, 0, dtype=torch.long), labels, indices)


def test_features_of_every_model_and_set_without_padding_in_the_order_of_the_set(backbone):
    prompts = backbone.spec.tokenize(["one", "two", "three"]).reshape(3, 1, -1)
    other = torch.nn.Module()
    other.encode_image, other.encode_text = (lambda x: -backbone.model.encode_image(x)), backbone.model.encode_text
    module = FeatureModule({"a": backbone.model, "b": other}, ["first", "second"], prompts)
    module.on_test_epoch_start()
    for place in (0, 1):
        for number, batch in enumerate(batches()):
            module.test_step(batch._replace(images=batch.images + place), number, place)
    module.on_test_epoch_end()
    torch.testing.assert_close(module.texts["a"], zero_shot_head(backbone.model.encode_text, prompts))
    assert not module.state_dict().keys() & {"prompts"}
    one, two = batches()
    for place, name in enumerate(("first", "second")):
        images, labels = module.images["a"][name]
        expected = torch.stack([one.images[:6], two.images[:6]], dim=1).flatten(0, 1) + place
        torch.testing.assert_close(images, backbone.model.encode_image(expected).detach())
        assert labels.tolist() == [0, 0, 1, 1, 2, 2] * 2
        assert not images.requires_grad
        torch.testing.assert_close(module.images["b"][name].images, -images)


def test_a_set_of_padding_alone_is_empty():
    metric = Collected()
    metric.update(torch.ones(3, 4), torch.full((3,), -1), torch.full((3,), -1))
    images, labels = metric.compute()
    assert (images.shape, labels.shape) == ((0, 4), (0,))


def test_equal_names_are_refused(backbone):
    with pytest.raises(ValueError, match="two evaluation sets are named a; rename one"):
        FeatureModule({"m": backbone.model}, ["a", "b", "a"], torch.zeros(2, 1, 8).long())
