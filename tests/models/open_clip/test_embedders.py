"""Embedders of other modalities in a CLIP's vision transformer."""

import open_clip
import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.models import ClipModel
from tracer_lightning.models.open_clip.embedders import (
    EMBEDDER,
    POSITIONS,
    ConvolutionEmbedder,
    conv1d,
    conv2d,
    embedder_parameters,
    patch_sizes,
    replace_embedder,
)


@pytest.mark.parametrize("grid", [(4,), (2, 2)])
def test_the_pixel_convolution_put_back_gives_the_same_bits(grid):
    model, images = tiny_backbone().model.eval(), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        before = model.encode_image(images)
        replace_embedder(model, model.model.visual.conv1, grid)
        assert torch.equal(model.encode_image(images), before)


@pytest.mark.parametrize(
    ("embed", "shape", "max_tokens", "tokens"),
    [
        (conv1d, (12, 29), None, 4),
        (conv1d, (12, 29), 16, 15),
        (conv1d, (1, 1), 16, 1),
        (conv1d, (2, 5), 100, 5),
        (conv2d, (1, 12, 29), 16, 16),
        (conv2d, (7, 9, 4), 6, 6),
    ],
)
def test_samples_of_any_shape_become_tokens(embed, shape, max_tokens, tokens):
    model = tiny_backbone().model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    embed(model, shape, max_tokens)
    after = model.state_dict()
    assert after[POSITIONS].shape == (tokens + 1, 32)
    assert torch.equal(after[POSITIONS][0], before[POSITIONS][0])
    unchanged = [name for name in before if name != POSITIONS and not name.startswith(EMBEDDER)]
    assert all(torch.equal(after[name], before[name]) for name in unchanged)
    assert set(after) == {*unchanged, *embedder_parameters(model)}
    features = model.encode_image(torch.randn(5, *shape))
    assert features.shape == (5, 16)
    features[:, 0].sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in embedder_parameters(model).values())


def test_a_patch_is_the_smallest_that_leaves_so_many_tokens():
    assert patch_sizes([29], 16) == (2,)
    assert patch_sizes([427], 16) == (27,)
    assert patch_sizes([12, 29], 16) == (3, 8)
    assert patch_sizes([5], 5) == (1,)


def test_zeros_at_the_end_do_not_change_the_tokens_of_the_rest():
    embedder, sample = ConvolutionEmbedder(2, (3,), 8), torch.randn(1, 2, 7)
    longer = torch.nn.functional.pad(sample, (0, 6))
    tokens = embedder(longer)
    assert tokens.shape == (1, 8, 5)
    torch.testing.assert_close(tokens[..., :3], embedder(sample))


def test_positions_are_resampled_along_the_raster():
    model = tiny_backbone().model
    with torch.no_grad():
        model.model.visual.positional_embedding[1:] = torch.arange(4.0)[:, None]
    conv1d(model, (1, 7), 7)
    positions = model.model.visual.positional_embedding[1:, 0]
    assert (positions.diff() >= 0).all()
    assert positions.mean().item() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("embed", "shape", "max_tokens", "message"),
    [
        (conv1d, (3, 32, 32), None, r"shape must be that of series \(C, L\), got \(3, 32, 32\)"),
        (conv2d, (12, 29), None, r"shape must be that of maps \(C, H, W\), got \(12, 29\)"),
        (conv1d, (12, 0), None, r"shape must be that of series"),
        (conv1d, (12, 29), 0, "max_tokens must be >= 1 and <= 4096, got 0"),
        (conv1d, (12, 29), 4097, "max_tokens must be >= 1 and <= 4096, got 4097"),
    ],
)
def test_bad_arguments(embed, shape, max_tokens, message):
    with pytest.raises(ValueError, match=message):
        embed(tiny_backbone().model, shape, max_tokens)


def test_a_resnet_has_no_place_for_an_embedder():
    vision = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}
    text = {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    with pytest.raises(ValueError, match="vision transformers, and has a ModifiedResNet"):
        conv1d(ClipModel(open_clip.CLIP(16, vision, text)), (12, 29))
