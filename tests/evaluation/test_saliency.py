"""Saliency maps against naive loops, values by hand, and models that use a single patch."""

import math

import numpy as np
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import nn

from tracer_lightning.evaluation.saliency import (
    attention_rollout,
    attention_weights,
    by_tower,
    grad_cam,
    rollout,
)


def vit(pool="tok", layers=2):
    torch.manual_seed(0)
    tower = VisionTransformer(
        image_size=16, patch_size=4, width=16, layers=layers, heads=2, mlp_ratio=2.0, output_dim=8, pool_type=pool
    )
    return tower.eval()


def resnet():
    torch.manual_seed(0)
    return ModifiedResNet(layers=[1, 1, 1, 1], output_dim=8, heads=4, image_size=64, width=8).eval()


def random_images(size, count=2):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def hooks(tower):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in tower.modules())


def test_uniform_attention_by_hand():
    """(A + I) / 2 with A = 1/N: after L layers the diagonal keeps 2^-L of its own, and the rest is even."""
    size, layers = 4, 3
    rolled = rollout([torch.full((1, size, size), 1 / size)] * layers)[0]
    own = 0.5**layers
    expected = torch.full((size, size), (1 - own) / size) + own * torch.eye(size)
    torch.testing.assert_close(rolled, expected)


def test_rollout_is_the_naive_product_and_rows_sum_to_one():
    layers = torch.randn(3, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).softmax(dim=-1)
    rolled = rollout(list(layers))
    torch.testing.assert_close(rolled.sum(dim=-1), torch.ones(2, 5, dtype=torch.float64))
    for image in range(2):
        naive = np.eye(5)
        for layer in range(3):
            mixed = np.zeros((5, 5))
            for i in range(5):
                for j in range(5):
                    for k in range(5):
                        expected_entry = 0.5 * float(layers[layer, image, i, k]) + 0.5 * (i == k)
                        mixed[i, j] += expected_entry * naive[k, j]
            naive = mixed
        np.testing.assert_allclose(rolled[image].numpy(), naive, rtol=1e-12)


def test_weights_are_those_of_each_block():
    """Recomputed from queries and keys, head by head."""
    tower, images = vit(), random_images(16)
    with torch.no_grad():
        x, naive = tower._embeds(images), []
        for block in tower.transformer.resblocks:
            asked = nn.functional.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
            query, key, _ = asked.unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, width)
            naive.append((query @ key.mT / math.sqrt(8)).softmax(dim=-1).mean(dim=1))
            x = block(x)
    for result, expected in zip(attention_weights(tower, images), naive, strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", ["tok", "avg"])
def test_a_map_has_the_grid_of_the_patches(pool):
    tower, images = vit(pool), random_images(16)
    result = attention_rollout(tower, tower, images, torch.zeros(2, dtype=torch.long))
    rolled = rollout(attention_weights(tower, images))
    row = rolled[:, 0] if pool == "tok" else rolled[:, 1:].mean(dim=1)
    torch.testing.assert_close(result, row[:, 1:].reshape(2, 4, 4))
    assert (result.sum(dim=(1, 2)) <= 1).all()


class Quadrants(ModifiedResNet):
    """A ResNet in name, whose features are its pooled last layer: Grad-CAM is known by hand."""

    def __init__(self):
        nn.Module.__init__(self)
        self.layer4 = nn.Conv2d(3, 2, 2, stride=2, bias=False)

    def forward(self, x):
        return self.layer4(x).mean(dim=(2, 3))


def test_grad_cam_by_hand():
    """Logit w a + v b of channel means a, b over 4 places has gradients w/4 and v/4 everywhere."""
    tower, images = Quadrants(), random_images(4)
    weights = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    result = grad_cam(tower, lambda inputs: tower(inputs) @ weights.T, images, torch.tensor([0, 1]))
    activations = tower.layer4(images).detach()
    expected = torch.stack(
        [
            ((activations[0, 0] - 2 * activations[0, 1]) / 4).relu(),
            ((0.5 * activations[1, 0] + 3 * activations[1, 1]) / 4).relu(),
        ]
    )
    torch.testing.assert_close(result, expected)


def differences(function, at, step=1e-5):
    """Gradient of a function of batches (N, ...) at one point (1, ...), by central differences."""
    steps = step * torch.eye(at.numel(), dtype=at.dtype).view(-1, *at.shape[1:])
    with torch.no_grad():
        return ((function(at + steps) - function(at - steps)) / (2 * step)).view_as(at)


def expected_map(activation, gradient):
    """Compute the map of activations and gradients (channels, h, w)."""
    return (gradient.mean(dim=(1, 2))[:, None, None] * activation).sum(dim=0).clamp(min=0)


def test_grad_cam_of_a_resnet_by_finite_differences():
    tower, images = resnet().double(), random_images(64, 1).double()
    with torch.no_grad():
        activation = tower.layer4(tower.layer3(tower.layer2(tower.layer1(tower.stem(images)))))
    result, expected = [], []
    for chosen in range(3):
        gradient = differences(lambda layer, chosen=chosen: tower.attnpool(layer)[:, chosen], activation)
        expected.append(expected_map(activation[0], gradient[0]))
        result.append(grad_cam(tower, tower, images, torch.tensor([chosen]))[0])
    assert torch.stack(expected).max() > 0
    torch.testing.assert_close(torch.stack(result), torch.stack(expected), rtol=1e-5, atol=1e-9)


def test_grad_cam_of_a_vit_by_finite_differences():
    tower, images = vit().double(), random_images(16, 1).double()
    last = tower.transformer.resblocks[-1]
    with torch.no_grad():
        entering = tower.transformer.resblocks[0](tower._embeds(images))
        activation = last.ln_1(entering)

    def logit(normed):
        x = entering + last.attn(normed, normed, normed, need_weights=False)[0]
        return (tower._pool(x + last.mlp(last.ln_2(x)))[0] @ tower.proj)[:, 3]

    gradient = differences(logit, activation)
    activation, gradient = (values[0, 1:].T.reshape(16, 4, 4) for values in (activation, gradient))
    expected = expected_map(activation, gradient)
    assert expected.max() > 0
    torch.testing.assert_close(grad_cam(tower, tower, images, torch.tensor([3]))[0], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_grad_cam_finds_the_quadrant_that_matters(corner):
    """The layer answers to a pattern, and the image has it in one quadrant only."""
    pattern, (row, column) = random_images(32, 1), corner
    images = torch.zeros(1, 3, 64, 64)
    images[:, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = pattern
    tower = Quadrants()
    tower.layer4 = nn.Conv2d(3, 2, 32, stride=32, bias=False)
    with torch.no_grad():
        tower.layer4.weight.copy_(pattern.expand(2, -1, -1, -1))
    (result,) = grad_cam(tower, tower, images, torch.tensor([0]))
    assert divmod(int(result.argmax()), 2) == corner
    assert result.sum() == result.max() > 0


@pytest.mark.parametrize("patch", [0, 5, 15])
def test_rollout_finds_the_patch_that_all_tokens_attend_to(patch):
    """Keys answer to one direction, that only one patch has."""
    tower = vit(layers=1)
    block = tower.transformer.resblocks[0]
    with torch.no_grad():
        tower.positional_embedding.zero_()
        tower.class_embedding.copy_(torch.linspace(-1, 1, 16))
        tower.conv1.weight.zero_()
        tower.conv1.weight[3] = 1.0  # a bright patch is tall in dimension 3
        block.attn.in_proj_weight.zero_()
        block.attn.in_proj_bias.zero_()
        block.attn.in_proj_bias[0] = 1.0  # all queries
        block.attn.in_proj_weight[16, 3] = 5.0  # keys
    images = torch.zeros(1, 3, 16, 16)
    row, column = divmod(patch, 4)
    images[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1.0
    (result,) = attention_rollout(tower, tower, images, torch.tensor([0]))
    assert int(result.argmax()) == patch
    assert result.max() > 2 * result.flatten().sort().values[-2]


def test_hooks_are_removed_and_the_model_is_unchanged():
    for tower, size in ((vit(), 16), (resnet(), 64)):
        images, classes = random_images(size), torch.tensor([0, 1])
        before = tower(images)
        by_tower(tower, tower, images, classes)
        grad_cam(tower, tower, images, classes)
        assert hooks(tower) == 0
        assert all(parameter.grad is None for parameter in tower.parameters())
        torch.testing.assert_close(tower(images), before, rtol=0, atol=0)
        with pytest.raises(RuntimeError, match="out of bounds"):
            grad_cam(tower, tower, images, torch.tensor([99, 99]))
        assert hooks(tower) == 0


def test_frozen_towers_are_explained_too():
    tower = resnet()
    expected = grad_cam(tower, tower, random_images(64), torch.tensor([0, 1]))
    tower.requires_grad_(False)
    torch.testing.assert_close(grad_cam(tower, tower, random_images(64), torch.tensor([0, 1])), expected)


def test_each_tower_has_its_own_maps_and_unknown_towers_raise_errors():
    images, classes = random_images(64), torch.tensor([0, 1])
    tower = resnet()
    torch.testing.assert_close(by_tower(tower, tower, images, classes), grad_cam(tower, tower, images, classes))
    with pytest.raises(ValueError, match=r"visual must be one of open_clip's ViTs .*, got a ModifiedResNet"):
        attention_rollout(tower, tower, images, classes)
    convolution_free = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4))
    for maps in (by_tower, grad_cam, attention_rollout):
        with pytest.raises(ValueError, match=r"visual must be one of open_clip's ViTs .*, got a Sequential"):
            maps(convolution_free, convolution_free, images, classes)
    pooled = vit(pool="none")
    with pytest.raises(
        ValueError, match=r"visual must be one of open_clip's ViTs with a class token, got a VisionTransformer"
    ):
        by_tower(pooled, pooled, random_images(16), classes)


def test_a_tower_of_one_block_that_computes_only_the_class_token():
    weights = torch.softmax(torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0)), dim=-1)
    torch.testing.assert_close(rollout([weights[:, :1]]), rollout([weights])[:, :1])
    torch.testing.assert_close(rollout([weights, weights[:, :1]]), rollout([weights, weights])[:, :1])
