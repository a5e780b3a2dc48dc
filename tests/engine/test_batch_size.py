"""The batch size that fits in memory."""

import pytest
import torch

from tracer_lightning.engine.batch_size import COPIES, LARGEST, activation_bytes, choose_batch_size, largest_batch

GB = 1 << 30


@pytest.mark.parametrize(
    ("weights", "image", "memory", "images", "expected"),
    [
        (3 * GB, GB // 32, 64 * GB, 1000, 64),
        (3 * GB, GB // 32, 9 * GB, 1000, 32),  # 1.5 GB of the half remain, for 48 images
        (3 * GB, GB // 32, 4 * GB, 1000, 8),  # nothing fits
        (3 * GB, GB // 32, None, 1000, 64),
        (3 * GB, GB // 32, 64 * GB, 21, 16),
        (3 * GB, GB // 32, 4 * GB, 3, 2),
    ],
)
def test_the_batch_fits_in_half_of_the_memory_and_in_the_training_set(weights, image, memory, images, expected):
    assert largest_batch(weights, image, memory, 64, images) == expected


@pytest.mark.parametrize(
    ("memory", "images", "processes", "expected"),
    [(64 * GB, 1000, 3, 63), (8 * GB, 1000, 3, 63), (7 * GB, 1000, 3, 30), (64 * GB, 5, 8, 8)],
)
def test_processes_share_the_batch(memory, images, processes, expected):
    assert largest_batch(3 * GB, GB // 32, memory, 64, images, processes) == expected


def test_activations_are_those_that_the_backward_pass_needs(backbone):
    """A block of a transformer keeps about 17 tensors of its width for each token, without those of attention."""
    model = backbone.model
    visual, text = model.model.visual, model.model.transformer
    blocks = visual.transformer.resblocks
    tokens = {"image": visual.positional_embedding.shape[0], "text": 16}
    widths = {"image": blocks[0].ln_1.weight.numel(), "text": text.width}
    counts = {"image": len(blocks), "text": text.layers}
    estimate = sum(17 * 4 * tokens[tower] * widths[tower] * counts[tower] for tower in tokens)
    assert 0.5 * estimate < activation_bytes(model, backbone.spec) < 2 * estimate
    for parameter in visual.parameters():
        parameter.requires_grad_(False)
    assert activation_bytes(model, backbone.spec) < 0.9 * estimate
    visual.requires_grad_(True)


def test_the_measurement_changes_nothing(backbone):
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    random = torch.get_rng_state()
    choice = choose_batch_size(backbone.model.train(), backbone.spec, "cpu", images=10**6)
    assert backbone.model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in backbone.model.state_dict().items())
    assert choice.weights == COPIES * 4 * sum(parameter.numel() for parameter in backbone.model.parameters())
    assert choice.size == LARGEST["cpu"]  # a tiny model fits
