"""Decoding of untrusted images."""

import contextlib
import io
import os
import struct

import numpy as np
import pytest
from PIL import Image

from tests.data.shards.test_tar import bomb
from tests.images import encode, random_pixels
from tracer_lightning.data.images import decoding
from tracer_lightning.data.images.decoding import UnreadableImageError, decode, header_size, pil_image
from tracer_lightning.data.images.folder import FolderSource


def encoded(form, size=(40, 30), **options):
    width, height = size
    return encode(random_pixels(height, width), form, **options)


FORMATS = {
    "jpeg": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True, exif=b"Exif\0\0" + b"x" * 1000, comment=b"y" * 500),
    "png": encoded("PNG"),
    "webp": encoded("WEBP"),
    "bmp": encoded("BMP"),
    "tiff": encoded("TIFF"),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_sizes_are_read_from_headers(kind):
    assert decode(FORMATS[kind]).shape == (3, 30, 40)
    assert header_size(FORMATS[kind]) == ((40, 30) if kind in ("jpeg", "progressive", "png") else None)


def jpeg_that_says(width, height):
    data = bytearray(FORMATS["jpeg"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


FRAME = segment(0xC0, struct.pack(">BHHB", 8, 8, 8, 3) + bytes(9))
"""Frame header of an image of 8 x 8 pixels."""


def jpeg_with(inserted, said=None):
    """A JPEG of 40 x 30 pixels, or one that says that it is larger, with something before its frame."""
    data = jpeg_that_says(*(said or (40, 30)))
    return data[:2] + inserted + data[2:]


def jpeg_in_a_comment(side):
    """A frame of 8 x 8 pixels, in a comment after a fill byte, before the true one: where 0xFFFE as a length leads."""
    comment = bytearray(b"\xff" + segment(0xFE, bytes(0xFFEE)))
    comment[2 + 0xFEFF : 2 + 0xFEFF + len(FRAME)] = FRAME
    return jpeg_with(bytes(comment), (side, side))


ODD = {
    "fill": b"\xff" * 9,
    "comment": segment(0xFE, FRAME),
    "attachment": segment(0xE1, b"Exif\0\0" + FRAME),
    "junk": b"\xff\xfe\0\x02no marker",
    "stuffed": b"\xff\0",
    "restart": b"\xff\xd3",
    "empty": b"\xff\xfe\0\x02" * 900,
}


@pytest.mark.parametrize("kind", ODD)
def test_segments_before_a_jpegs_frame_are_skipped(kind):
    assert header_size(jpeg_with(ODD[kind])) == (40, 30)
    assert header_size(jpeg_with(ODD[kind], (30_000, 20_000))) == (30_000, 20_000)
    assert decode(jpeg_with(ODD[kind])).shape == (3, 30, 40)


def test_jpegs_with_too_many_segments_or_frames_are_unreadable():
    for inserted in (b"\xff\xfe\0\x02" * 100_000, FRAME, b"\xff\xd9"):
        with pytest.raises(UnreadableImageError):
            decode(jpeg_with(inserted))


def test_decoded_images_must_have_the_size_in_the_header(monkeypatch):
    monkeypatch.setattr(decoding, "header_size", lambda data: (8, 8))
    for kind in ("jpeg", "png", "webp"):
        with pytest.raises(UnreadableImageError, match="of 8 x 8 pixels, and contains another image"):
            decode(FORMATS[kind])


def bmp_that_says(width, height):
    data = bytearray(FORMATS["bmp"])
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [bomb(60_000, 60_000), jpeg_that_says(65_000, 65_000), bmp_that_says(100_000, 100_000)],
    ids=["png", "jpeg", "bmp"],
)
def test_pixels_beyond_the_limit_are_not_decoded(data, monkeypatch):
    monkeypatch.setattr(decoding, "decode_image", None)
    for read in (decode, pil_image):
        with pytest.raises(UnreadableImageError, match=r"pixels.* is too large"):
            read(data)


def test_images_with_extreme_aspects_are_unreadable():
    assert decode(encoded("PNG", (1000, 10))).shape == (3, 10, 1000)
    with pytest.raises(UnreadableImageError, match="of 5000 x 2 pixels, which is too large or too long"):
        decode(encoded("PNG", (5000, 2)))


def test_formats_that_start_programs_are_not_read():
    """PIL hands PostScript to Ghostscript."""
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    assert Image.open(io.BytesIO(postscript)).format == "EPS"
    for read in (decode, pil_image):
        with pytest.raises(UnreadableImageError):
            read(postscript)


@pytest.mark.parametrize("kind", FORMATS)
def test_random_damage_is_decoded_or_raises_unreadable_image_error(kind):
    rng, content = np.random.default_rng(0), FORMATS[kind]
    for _ in range(150):
        damaged = bytearray(content[: rng.integers(1, len(content) + 1)])
        for place in rng.integers(0, min(len(damaged), 200), rng.integers(0, 6)):
            damaged[place] = rng.integers(256)
        for read in (decode, pil_image):
            with contextlib.suppress(UnreadableImageError):
                read(bytes(damaged))


def test_a_flipped_bit_in_a_png_does_not_end_the_process():
    """torchvision's decoder crashes over the checksum of the compressed pixels."""
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(FORMATS["png"])
        damaged[rng.integers(60, len(damaged) - 20)] ^= 1 << rng.integers(8)
        for read in (decode, pil_image):
            with pytest.raises(UnreadableImageError):
                read(bytes(damaged))


def test_folders_and_pipes_with_image_names_are_skipped(tmp_path):
    (tmp_path / "cat/folder.png").mkdir(parents=True)
    os.mkfifo(tmp_path / "cat/pipe.png")
    (tmp_path / "cat/real.PNG").write_bytes(FORMATS["png"])
    (tmp_path / "cat/link.png").symlink_to(tmp_path / "cat/real.PNG")
    source = FolderSource(tmp_path, ["cat"])
    assert [path.name for path, _ in source.files] == ["link.png", "real.PNG"]
    assert source[0].data == FORMATS["png"]
