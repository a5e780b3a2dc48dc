"""Decoding of images to tensors."""

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
from tracer_lightning.data.images.reading import Unread

FORMATS = tuple(dict.fromkeys(FORMAT_OF.values()))
"""Formats that PIL may read; some of its other formats start programs."""
MAX_PIXELS, MAX_ASPECT = 1 << 27, 100
"""Maximum number of pixels (134 million, 403 MB decoded) and maximum ratio of the sides, which resizing preserves."""
JPEG = b"\xff\xd8\xff"
BY_TORCHVISION = (JPEG, b"\x89PNG\r\n\x1a\n", b"RIFF")
"""Leading bytes of JPEG, PNG and WebP; torchvision decodes them nearly twice as fast as PIL, to the same pixels."""
MARKER = re.compile(rb"\xff([^\xff\0])", re.DOTALL)
"""Start of a JPEG segment; any number of fill bytes 0xFF may precede it."""
FRAMES = frozenset(bytes([code]) for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC))
LONE = frozenset(bytes([code]) for code in (0x01, *range(0xD0, 0xD8)))
ENDS = frozenset((b"\xd8", b"\xd9", b"\xda"))
"""JPEG markers: of frames, which contain the size; without contents; those that a frame must precede."""
MAX_SEGMENTS = 1000
"""Maximum number of segments before a JPEG's frame; colour profiles and attachments are split into 64 KiB segments."""
PNG, PNG_DEPTH = b"\x89PNG", 24
"""Signature of a PNG, and the offset of its bit depth."""
PNG_CHUNKS = 8
"""Offset of the first chunk of a PNG."""
WEBP_CHUNK, WEBP_FLAGS, WEBP_ANIMATED = slice(12, 16), 20, 0b10
"""Name of the first chunk of a WebP; if it is ``VP8X``, the offset and bit of its animation flag."""
WHITE_IS_ZERO = 0
"""Photometric interpretation of a TIFF whose zero is white."""
UNSCALED = {"I": "32-bit or signed integers", "F": "floating-point numbers"}
"""PIL modes whose values have no defined white."""


class UnreadableImageError(ValueError):
    """Raised for an image that can't be decoded; the message describes the image."""


def decode(data: bytes) -> Tensor:
    """Decode an image to (3, H, W) uint8.

    Raises:
        UnreadableImageError: the bytes are not an image, or the image is damaged or too large.
    """
    size = header_size(data) or _open_image(data).size
    check_size(*size)
    try:
        if data.startswith(BY_TORCHVISION) and not _needs_pil(data):
            pixels: Tensor = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
            if tuple(pixels.shape[-2:]) != size[::-1]:
                raise UnreadableImageError(f"of {size[0]} x {size[1]} pixels, and contains another image")
            return pixels
    except RuntimeError as error:
        raise UnreadableImageError("damaged, or of another format") from error
    return torch.from_numpy(np.array(rgb(pil_image(data)))).permute(2, 0, 1)


def _needs_pil(data: bytes) -> bool:
    """Whether torchvision can't decode the image reliably.

    It scales 16-bit PNGs differently, aborts the process at a damaged PNG, and can't read an animated WebP.
    """
    if data.startswith(PNG):
        return data[PNG_DEPTH : PNG_DEPTH + 1] == b"\x10" or not _is_intact_png(data)
    return data[WEBP_CHUNK] == b"VP8X" and len(data) > WEBP_FLAGS and bool(data[WEBP_FLAGS] & WEBP_ANIMATED)


def _is_intact_png(data: bytes) -> bool:
    """Whether the checksums of a PNG's critical chunks are correct."""
    position, view = PNG_CHUNKS, memoryview(data)
    while position < len(data) and data[position + 4 : position + 8] != b"IEND":
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        critical = data[position + 4 : position + 5].isupper()
        if critical and data[end : end + 4] != zlib.crc32(view[position + 4 : end]).to_bytes(4, "big"):
            return False
        position = end + 4
    return position < len(data)


def rgb(image: Image.Image) -> Image.Image:
    """Convert an 8-bit image to RGB; transparency is dropped.

    Raises:
        UnreadableImageError: PIL can't convert the image's mode.
    """
    image.info.pop("transparency", None)  # PIL would warn that it can't keep it
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise UnreadableImageError(f"of mode {image.mode}, which can't be converted to RGB") from error


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Convert an image to a mode of 8 bits per channel; of 16-bit grey values, the upper eight bits are kept.

    Raises:
        UnreadableImageError: the mode has no defined white.
    """
    if image.mode in UNSCALED:
        raise UnreadableImageError(f"of {UNSCALED[image.mode]} without a defined white")
    if image.mode.startswith("I;16"):
        return Image.fromarray(_upper_bits(image))
    if image.mode == "LAB":  # its signed channels can't be resized
        return rgb(image)
    return image.convert("LA") if image.mode == "La" else image


def _upper_bits(image: Image.Image) -> np.ndarray:
    """Return the upper eight bits of grey values (H, W), inverted like PIL does for a TIFF whose zero is white."""
    tags: Any = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits = tags.get(BITSPERSAMPLE, (16,))[0]
    grey: np.ndarray = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return 255 - grey if tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO else grey


def pil_image(data: bytes) -> Image.Image:
    """Decode an image by PIL, in its own mode or the closest one of 8 bits.

    Raises:
        UnreadableImageError: the bytes are not an image, the image is damaged or too large, or its mode has no defined
            white.
    """
    image = _open_image(data)
    try:
        image.load()
    except Exception as error:  # each of PIL's decoders raises its own errors
        raise UnreadableImageError("damaged, or of another format") from error
    return _to_8_bits(image)


def _open_image(data: bytes) -> Image.Image:
    """Open an image by PIL, which reads only its header.

    Raises:
        UnreadableImageError: the bytes are not an image, or the image is too large; or the file could not be read.
    """
    if isinstance(data, Unread):
        raise UnreadableImageError(data.reason)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("of too many pixels, which is too large") from error
    except Exception as error:  # each of PIL's plugins raises its own errors
        raise UnreadableImageError("damaged, or of another format") from error
    check_size(*image.size)
    if isinstance(image, TiffImageFile):  # a tile may be larger than the image
        check_size(int(image.tag_v2.get(TILEWIDTH, 1)), int(image.tag_v2.get(TILELENGTH, 1)))
    return image


def check_size(width: int, height: int) -> None:
    """Raise UnreadableImageError for an image with too many pixels or too large a ratio of the sides."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableImageError(f"of {width} x {height} pixels, which is too large or too long")


def header_size(data: bytes) -> tuple[int, int] | None:
    """Read width and height from the header of a PNG or JPEG, much faster than PIL; None where PIL is needed.

    A JPEG is read as by libjpeg: bytes between segments, fill bytes and the contents of segments are skipped, and the
    first frame counts, since a second one is an error.
    """
    if data.startswith(PNG):
        return struct.unpack(">II", data[16:24]) if len(data) >= 24 else None
    if not data.startswith(JPEG):
        return None
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker = MARKER.search(data, position)
        if marker is None or marker[1] in ENDS or len(data) < marker.end() + 7:
            return None
        position = marker.end()
        if marker[1] in FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            return width, height
        if marker[1] not in LONE:
            position += int.from_bytes(data[position : position + 2], "big")
    raise UnreadableImageError(f"with more than {MAX_SEGMENTS:,} segments before the image")
