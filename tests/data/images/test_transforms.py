import io

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from tests.conftest import tiny_backbone
from tests.images import encode, random_pixels
from tracer_lightning.data.images.decoding import UnreadableImageError
from tracer_lightning.data.images.transforms import EvalCrop, RandomCrop

RNG = np.random.default_rng(0)
SPEC = tiny_backbone().spec


def image(height=45, width=70):
    return random_pixels(height, width, seed=1)


def test_evaluation_crops_the_centre():
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 10:30] = 255
    spec = SPEC._replace(image_size=20)
    for decoder in ("torchvision", "pil"):
        assert (EvalCrop(spec, decoder)(encode(wide), RNG) == 255).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("shape", [(45, 70), (70, 45), (32, 32), (20, 25)])
def test_pil_yields_the_pixels_of_open_clip(mode, shape):
    data = encode(image(*shape), "JPEG" if mode == "CMYK" else "PNG", mode)
    ours = EvalCrop(SPEC, "pil")(data, RNG)
    theirs = open_clip.image_transform(32, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))(Image.open(io.BytesIO(data)))
    assert torch.equal(ours, (theirs * 255).round().to(torch.uint8))


@pytest.mark.parametrize("decoder", ["torchvision", "pil"])
def test_squashing_agrees_with_open_clip(decoder):
    spec = SPEC._replace(resize_mode="squash", interpolation="bilinear")
    data = encode(image())
    transform = open_clip.image_transform(
        32, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode="squash", interpolation="bilinear"
    )
    theirs = (transform(Image.open(io.BytesIO(data))) * 255).round()
    difference = (EvalCrop(spec, decoder)(data, RNG).float() - theirs).abs()
    assert difference.max() <= (0 if decoder == "pil" else 2)


def test_both_decoders_nearly_agree():
    data = encode(image())
    first, second = (EvalCrop(SPEC, decoder)(data, RNG).float() for decoder in ("torchvision", "pil"))
    assert (first - second).abs().max() <= 2


@pytest.mark.parametrize("decoder", ["torchvision", "pil"])
def test_a_border_is_cut_off(decoder):
    framed = np.full((44, 64, 3), 200, np.uint8)
    framed[:2], framed[-2:], framed[:, :2], framed[:, -2:] = (255, 0, 0), (255, 0, 0), (255, 0, 0), (255, 0, 0)
    assert (EvalCrop(SPEC._replace(image_size=40), decoder, border=2)(encode(framed), RNG) == 200).all()
    assert not (EvalCrop(SPEC._replace(image_size=40), decoder)(encode(framed), RNG) == 200).all()


@pytest.mark.parametrize("decoder", ["torchvision", "pil"])
@pytest.mark.parametrize("damage", [lambda data: b"<html>", lambda data: data[:200], lambda data: b""])
def test_damaged_images_are_unreadable(decoder, damage):
    with pytest.raises(UnreadableImageError):
        EvalCrop(SPEC, decoder)(damage(encode(image(), "JPEG")), RNG)


def test_invalid_arguments_raise_errors():
    with pytest.raises(ValueError, match="eval_decoder must be one of torchvision, pil, got 'cv2'"):
        EvalCrop(SPEC, "cv2")
    with pytest.raises(ValueError, match="resize_mode must be shortest or squash, got 'longest'"):
        EvalCrop(SPEC._replace(resize_mode="longest"), "pil")


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, 224])
def test_images_cropped_together_are_those_that_torchvision_crops_one_by_one(interpolation, size):
    crop = RandomCrop(size, (0.5, 1.0), 0.5, interpolation)
    shapes = [(32, 32), (33, 31), (64, 48), (300, 224), (3, 250), (224, 224)] * 8
    images = [torch.from_numpy(random_pixels(*shape, seed)).permute(2, 0, 1) for seed, shape in enumerate(shapes)]
    images = [image.contiguous() if number % 3 else image for number, image in enumerate(images)]
    rngs = [np.random.default_rng(seed) for seed in range(len(images))]
    together = crop.crop_batch([crop.plan(image, rng) for image, rng in zip(images, rngs, strict=True)])
    for seed, image in enumerate(images):
        rng = np.random.default_rng(seed)
        box = crop.box(*image.shape[1:], rng)
        expected = TF.resized_crop(image, *box, [size, size], InterpolationMode(interpolation), antialias=True)
        expected = TF.horizontal_flip(expected) if rng.random() < 0.5 else expected
        assert torch.equal(together[seed], expected)
        assert torch.equal(crop(image, np.random.default_rng(seed)), expected)
        assert rng.bit_generator.state == rngs[seed].bit_generator.state


SIZES = [(333, 500), (500, 333), (64, 64), (40, 1000), (1000, 40), (1, 3)]


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [
        (64, 64, (0.9, 1.0)),
        pytest.param(375, 500, (0.9, 1.0), marks=pytest.mark.slow),
        *(pytest.param(*size, (0.9, 1.0), marks=pytest.mark.slow) for size in SIZES[:-1] if size != (64, 64)),
        pytest.param(1000, 40, (0.08, 1.0), marks=pytest.mark.slow),
        pytest.param(1, 3, (0.9, 1.0), marks=pytest.mark.exhaustive),
        *(pytest.param(*size, (0.08, 1.0), marks=pytest.mark.exhaustive) for size in [(375, 500), *SIZES[:4], (1, 3)]),
    ],
)
def test_random_crops_are_distributed_as_torchvisions(height, width, scale):
    rng, draws, image = np.random.default_rng(0), 10_000, torch.zeros(1, height, width)
    crop = RandomCrop(32, scale, 0.0)
    ours = np.array([crop.box(height, width, rng) for _ in range(draws)])
    torch.manual_seed(1)
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3]) for _ in range(draws)])
    for number in range(4):
        assert ks_2samp(ours[:, number], theirs[:, number]).pvalue > 1e-3
    assert ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 1e-3


@pytest.mark.parametrize(("height", "width"), [(375, 500), (100, 110), *SIZES])
def test_the_fallback_crop_is_that_of_torchvision(height, width):
    theirs = RandomResizedCrop.get_params(torch.zeros(1, height, width), [2.0, 2.0], [3 / 4, 4 / 3])
    crop = RandomCrop(32, (1.0, 1.0), 0.0)
    crop.scale = (2.0, 2.0)
    assert crop.box(height, width, np.random.default_rng(0)) == theirs
