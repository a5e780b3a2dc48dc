"""Encoded images to tensors."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    TILELENGTH,
    TILEWIDTH,
    TiffImageFile,
)
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from tracer_lightning.data.images.files import FORMAT_OF

FORMATS = tuple(dict.fromkeys(FORMAT_OF.values()))
"""That PIL may read; some of its others start programs."""
MOST_PIXELS, LONGEST = 1 << 27, 100
"""Of an image: 134 million, 403 MB decoded, and how many times longer than wide, for resizing keeps that."""
JPEG = b"\xff\xd8\xff"
BY_TORCHVISION = (JPEG, b"\x89PNG\r\n\x1a\n", b"RIFF")
"""How JPEG, PNG and WebP begin; torchvision decodes them nearly twice as fast as PIL, to the same pixels."""
MARKER = re.compile(rb"\xff([^\xff\0])", re.DOTALL)
"""The begin of a JPEG's segment; any number of fill bytes 0xFF may stand before it."""
FRAMES = frozenset(bytes([code]) for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC))
LONE = frozenset(bytes([code]) for code in (0x01, *range(0xD0, 0xD8)))
ENDS = frozenset((b"\xd8", b"\xd9", b"\xda"))
"""Markers of JPEG: of a frame, which says the size; without contents; before which a frame must have come."""
MOST_SEGMENTS = 1000
"""The most segments before a JPEG's frame: its profile and other attachments come in parts of 64 KiB."""
PNG, PNG_DEPTH = b"\x89PNG", 24
"""Where a PNG says how many bits a channel has."""
PNG_CHUNKS = 8
"""Where its first chunk begins."""
WEBP_CHUNK, WEBP_FLAGS, WEBP_ANIMATED = slice(12, 16), 20, 0b10
"""Where a WebP names its first chunk and, if that is ``VP8X``, has a bit for animation."""
WHITE_IS_ZERO = 0
"""A TIFF's photometric interpretation."""
UNBOUNDED = {"I": "32-bit or signed integers", "F": "floating-point numbers"}
"""Modes of PIL whose values may mean any brightness: nothing says which is white."""


class UnreadableImageError(ValueError):
    """An image that can't be decoded."""


def decode(data: bytes) -> Tensor:
    """An encoded image to (3, H, W) uint8.

    Raises:
        UnreadableImageError: the bytes are no image, or a damaged one.
    """
    size = header_size(data) or _opened(data).size
    check_size(*size)
    try:
        if data.startswith(BY_TORCHVISION) and not _only_for_pil(data):
            pixels: Tensor = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
            if tuple(pixels.shape[-2:]) != size[::-1]:
                raise UnreadableImageError(f"of {size[0]} x {size[1]} pixels, and contains another image")
            return pixels
    except RuntimeError as error:
        raise UnreadableImageError("damaged, or of another format") from error
    return torch.from_numpy(np.array(rgb(pil_image(data)))).permute(2, 0, 1)


def _only_for_pil(data: bytes) -> bool:
    """Whether torchvision can't be trusted with it.

    It gives the 16 bits of a PNG a meaning of its own, ends the process over a damaged one, and can't read the frames
    of an animated WebP.
    """
    if data.startswith(PNG):
        return data[PNG_DEPTH : PNG_DEPTH + 1] == b"\x10" or not _intact_png(data)
    return data[WEBP_CHUNK] == b"VP8X" and len(data) > WEBP_FLAGS and bool(data[WEBP_FLAGS] & WEBP_ANIMATED)


def _intact_png(data: bytes) -> bool:
    """Whether the chunks that make the image have the checksums that they say."""
    place, view = PNG_CHUNKS, memoryview(data)
    while place < len(data) and data[place + 4 : place + 8] != b"IEND":
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        critical = data[place + 4 : place + 5].isupper()
        if critical and data[end : end + 4] != zlib.crc32(view[place + 4 : end]).to_bytes(4, "big"):
            return False
        place = end + 4
    return place < len(data)


def rgb(image: Image.Image) -> Image.Image:
    """An image of 8 bits in RGB; transparency is dropped.

    Raises:
        UnreadableImageError: PIL has no conversion.
    """
    image.info.pop("transparency", None)  # PIL would warn of what it can't keep
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise UnreadableImageError(f"of the mode {image.mode}, which can't be converted to RGB") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """An image in a mode of 8 bits: of grey ones with more, the upper eight.

    Raises:
        UnreadableImageError: nothing says which values are white.
    """
    if image.mode in UNBOUNDED:
        raise UnreadableImageError(f"of {UNBOUNDED[image.mode]}, and nothing says which of them are white")
    if image.mode.startswith("I;16"):
        return Image.fromarray(_upper_bits(image))
    if image.mode == "LAB":  # its signed channels can't be resized
        return rgb(image)
    return image.convert("LA") if image.mode == "La" else image


def _upper_bits(image: Image.Image) -> np.ndarray:
    """The upper eight bits of grey values (H, W), turned round where the zero of a TIFF is white, as PIL does."""
    tags: Any = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits = tags.get(BITSPERSAMPLE, (16,))[0]
    grey: np.ndarray = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return 255 - grey if tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO else grey


def pil_image(data: bytes) -> Image.Image:
    """An encoded image, decoded by PIL in its own mode, or the one of 8 bits that is next to it.

    Raises:
        UnreadableImageError: the bytes are no image, a damaged one, one too large, or of values that may mean any
            brightness.
    """
    image = _opened(data)
    try:
        image.load()
    except Exception as error:  # PIL has a decoder for each format, and each its own
        raise UnreadableImageError("damaged, or of another format") from error
    return _eight_bits(image)


def _opened(data: bytes) -> Image.Image:
    """The image, of which PIL has read the header only.

    Raises:
        UnreadableImageError: it is none, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("of so many pixels that it is too large") from error
    except Exception as error:  # likewise
        raise UnreadableImageError("damaged, or of another format") from error
    check_size(*image.size)
    if isinstance(image, TiffImageFile):  # of which a tile may be larger than the whole image
        check_size(int(image.tag_v2.get(TILEWIDTH, 1)), int(image.tag_v2.get(TILELENGTH, 1)))
    return image


def check_size(width: int, height: int) -> None:
    """Raise UnreadableImageError for more pixels than an image may have, or a shape that resizing makes too long."""
    if width * height > MOST_PIXELS or max(width, height) > LONGEST * min(width, height):
        raise UnreadableImageError(f"of {width} x {height} pixels, which is too large or too long")


def header_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the header of a PNG or JPEG says, much faster than PIL does; None where it must be asked.

    A JPEG is read as libjpeg does: bytes between segments, fill bytes and the contents of segments are passed over, and
    the first frame counts, since a second one is an error.
    """
    if data.startswith(PNG):
        return struct.unpack(">II", data[16:24]) if len(data) >= 24 else None
    if not data.startswith(JPEG):
        return None
    place = 2
    for _ in range(MOST_SEGMENTS):
        marker = MARKER.search(data, place)
        if marker is None or marker[1] in ENDS or len(data) < marker.end() + 7:
            return None
        place = marker.end()
        if marker[1] in FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 3)
            return width, height
        if marker[1] not in LONE:
            place += int.from_bytes(data[place : place + 2], "big")
    raise UnreadableImageError(f"with more than {MOST_SEGMENTS:,} segments before the image")
