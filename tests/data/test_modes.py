"""Images of every mode, in both decoders, against conversions that are written out here."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import tiny_backbone
from tests.images import encode
from tracer_lightning.data.images.decoding import UnreadableImageError, decode, pil_image, rgb
from tracer_lightning.data.images.transforms import EvalCrop

HEIGHT, WIDTH = 24, 20
RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
WIDE = RNG.integers(0, 1 << 16, (HEIGHT, WIDTH, 4)).astype(np.uint16)
PALETTE = RNG.integers(0, 256, (256, 3)).astype(np.uint8)
GREY_COLOUR, RGB_COLOUR, GREY_ALPHA_COLOUR, RGBA_COLOUR = 0, 2, 4, 6
WHITE_IS_ZERO, BLACK_IS_ZERO, TIFF_RGB, TIFF_LAB = 0, 1, 2, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


def png16(values, colour):
    """A PNG of 16 bits: PIL writes grey ones only."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(content, bits, kind=UNSIGNED, photometric=BLACK_IS_ZERO, channels=1, order="<"):
    """An uncompressed TIFF of one strip; PIL writes few of the kinds that it reads."""
    short, long = 3, 4
    tags = [(256, long, WIDTH), (257, long, HEIGHT), (259, short, 1), (262, short, photometric)]
    tags += [(277, short, channels), (278, long, HEIGHT), (279, long, len(content)), (273, long, 0)]
    size = 2 + 12 * (len(tags) + 2) + 4
    extra = struct.pack(f"{order}{2 * channels}H", *[bits] * channels, *[kind] * channels)
    tags[-1] = (273, long, 8 + size + len(extra))
    entries = {tag: struct.pack(f"{order}HHI", tag, form, 1) + struct.pack(f"{order}{'HH' if form == short else 'I'}",
               *((value, 0) if form == short else (value,))) for tag, form, value in tags}  # fmt: skip
    for tag, place, value in ((258, 0, bits), (339, 2 * channels, kind)):
        where = struct.pack(f"{order}HH", value, 0) if channels == 1 else struct.pack(f"{order}I", 8 + size + place)
        entries[tag] = struct.pack(f"{order}HHI", tag, short, channels) + where
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    return head + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4) + extra + content


def grey(values):
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=-1)


def packed12(values):
    """Two values in three bytes."""
    pairs = values.reshape(-1, 2).astype(int)
    return np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1).astype(
        np.uint8
    ).tobytes()  # fmt: skip


def images():
    """Name to encoded image and the pixels that are right."""
    grey_levels, rgb_levels, rgba = LEVELS[..., 0], LEVELS[..., :3], Image.fromarray(LEVELS, "RGBA")
    palette = Image.fromarray(grey_levels, "P")
    palette.putpalette(PALETTE.tobytes())
    wide, twelve = WIDE[..., 0], WIDE[..., 0] >> 4
    cyan_to_black = LEVELS.astype(float)
    ink = np.rint((255 - cyan_to_black[..., :3]) * (255 - cyan_to_black[..., 3:]) / 255)
    return {
        "1 png": (encode(Image.fromarray(grey_levels >= 128), "PNG"), grey(255 * (grey_levels >= 128))),
        "1 tiff": (encode(Image.fromarray(grey_levels >= 128), "TIFF"), grey(255 * (grey_levels >= 128))),
        "L png": (encode(Image.fromarray(grey_levels), "PNG"), grey(grey_levels)),
        "L tiff": (encode(Image.fromarray(grey_levels), "TIFF"), grey(grey_levels)),
        "L white is zero": (tiff(grey_levels.tobytes(), 8, photometric=WHITE_IS_ZERO), grey(255 - grey_levels)),
        "L with transparency": (encode(Image.fromarray(grey_levels), "PNG", transparency=7), grey(grey_levels)),
        "LA png": (encode(Image.fromarray(LEVELS[..., :2], "LA"), "PNG"), grey(grey_levels)),
        "P png": (encode(palette, "PNG"), PALETTE[grey_levels]),
        "P with transparency": (encode(palette, "PNG", transparency=bytes(range(256))), PALETTE[grey_levels]),
        "P gif": (encode(palette, "GIF"), PALETTE[grey_levels]),
        "P bmp": (encode(palette, "BMP"), PALETTE[grey_levels]),
        "RGB png": (encode(Image.fromarray(rgb_levels), "PNG"), rgb_levels),
        "RGB webp": (encode(Image.fromarray(rgb_levels), "WEBP", lossless=True), rgb_levels),
        "RGB tiff": (encode(Image.fromarray(rgb_levels), "TIFF"), rgb_levels),
        "RGBA png": (encode(rgba, "PNG"), rgb_levels),
        "RGBA webp": (encode(rgba, "WEBP", lossless=True, exact=True), rgb_levels),
        "RGBA tiff": (encode(rgba, "TIFF"), rgb_levels),
        "CMYK tiff": (encode(Image.fromarray(LEVELS, "CMYK"), "TIFF"), ink),
        "I;16 png": (png16(wide, GREY_COLOUR), grey(wide >> 8)),
        "I;16 tiff": (tiff(wide.astype("<u2").tobytes(), 16), grey(wide >> 8)),
        "I;16B tiff": (tiff(wide.astype(">u2").tobytes(), 16, order=">"), grey(wide >> 8)),
        "I;16 white is zero": (
            tiff(wide.astype("<u2").tobytes(), 16, photometric=WHITE_IS_ZERO), grey(255 - (wide >> 8)),
        ),
        "I;12 tiff": (tiff(packed12(twelve), 12), grey(twelve >> 4)),
        "LA of 16 bits png": (png16(WIDE[..., :2], GREY_ALPHA_COLOUR), grey(wide >> 8)),
        "RGB of 16 bits png": (png16(WIDE[..., :3], RGB_COLOUR), WIDE[..., :3] >> 8),
        "RGBA of 16 bits png": (png16(WIDE, RGBA_COLOUR), WIDE[..., :3] >> 8),
        "RGB of 16 bits tiff": (
            tiff(WIDE[..., :3].astype("<u2").tobytes(), 16, photometric=TIFF_RGB, channels=3), WIDE[..., :3] >> 8,
        ),
    }  # fmt: skip


IMAGES = images()
LEFT_OUT = {
    "I;16S tiff": (tiff(WIDE[..., 0].astype("<i2").tobytes(), 16, SIGNED), "signed integers"),
    "I tiff": (tiff(WIDE[..., 0].astype("<u4").tobytes(), 32), "32-bit"),
    "I signed tiff": (tiff(WIDE[..., 0].astype("<i4").tobytes(), 32, SIGNED), "32-bit"),
    "F tiff": (tiff((WIDE[..., 0] / 65535).astype("<f4").tobytes(), 32, FLOAT), "floating-point"),
}
PLAIN = tiny_backbone().spec._replace(image_size=WIDTH, interpolation="bilinear")


def crops(data):
    """Crop an image for evaluation with both decoders."""
    return [EvalCrop(PLAIN, decoder)(data, RNG) for decoder in ("torchvision", "pil")]


@pytest.mark.parametrize("name", IMAGES)
def test_every_mode_becomes_rgb_of_8_bits(name):
    data, right = IMAGES[name]
    tolerance = 1 if name.startswith("CMYK") else 0
    for pixels in (decode(data).permute(1, 2, 0).numpy(), np.asarray(rgb(pil_image(data)))):
        assert pixels.dtype == np.uint8
        assert np.abs(pixels.astype(int) - right.astype(int)).max() <= tolerance
    by_torchvision, by_pil = crops(data)
    middle = right[(HEIGHT - WIDTH) // 2 :][:WIDTH].astype(int)
    for crop in (by_torchvision, by_pil):
        assert np.abs(crop.permute(1, 2, 0).numpy().astype(int) - middle).max() <= tolerance
    assert torch.equal(by_torchvision, by_pil)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_modes_without_a_defined_white_are_unreadable(name):
    data, reason = LEFT_OUT[name]
    for read in (decode, crops):
        with pytest.raises(UnreadableImageError, match=reason):
            read(data)


def test_lab_has_the_greys_of_its_lightness():
    lightness = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    lightness[..., 0] = np.linspace(0, 255, HEIGHT)[:, None]
    data = tiff(lightness.tobytes(), 8, photometric=TIFF_LAB, channels=3)
    share = (100 / 255 * lightness[..., 0] + 16) / 116  # CIE 1976, and the curve of sRGB
    linear = np.where(share > 6 / 29, share**3, 3 * (6 / 29) ** 2 * (share - 4 / 29)).clip(0, 1)
    right = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(decode(data).permute(1, 2, 0).numpy() - right[..., None]).max() <= 3
    assert torch.equal(*crops(data))


def test_jpegs_of_four_inks_are_the_same_from_both_decoders():
    data = encode(Image.fromarray(LEVELS, "CMYK"), "JPEG", quality=100)
    assert (decode(data).permute(1, 2, 0).numpy() == np.asarray(rgb(pil_image(data)))).all()


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "GIF"])
def test_both_decoders_read_the_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert pil_image(data).n_frames == 3
    for image in (decode(data), *crops(data)):
        means = image.float().mean(dim=(1, 2))
        assert (means - torch.tensor([255.0, 0.0, 0.0])).abs().max() <= 3
