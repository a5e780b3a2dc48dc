"""Encoded pictures to tensors."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""That PIL may read; some of its others start programs."""
MOST_PIXELS, LONGEST = 1 << 27, 100
"""Of a picture: 134 million, 403 MB decoded, and how many times longer than wide, for resizing keeps that."""
JPEG = b"\xff\xd8\xff"
BY_TORCHVISION = (JPEG, b"\x89PNG\r\n\x1a\n", b"RIFF")
"""How JPEG, PNG and WebP begin; torchvision decodes them nearly twice as fast as PIL, to the same pixels."""
PNG, PNG_DEPTH = b"\x89PNG", 24
"""Where a PNG says how many bits a channel has."""


class UnreadablePictureError(ValueError):
    """A picture that can't be decoded."""


def decode(data: bytes) -> Tensor:
    """An encoded picture to (3, H, W) uint8.

    Raises:
        UnreadablePictureError: the bytes are no picture, or a damaged one.
    """
    if size := header_size(data):
        check_size(*size)
    else:
        _opened(data)
    wide_png = data.startswith(PNG) and data[PNG_DEPTH : PNG_DEPTH + 1] == b"\x10"
    try:
        if data.startswith(BY_TORCHVISION) and not wide_png:
            pixels: Tensor = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
            return pixels
    except RuntimeError as error:
        raise UnreadablePictureError("damaged, or of another format") from error
    return torch.from_numpy(np.array(pil_image(data).convert("RGB"))).permute(2, 0, 1)


def pil_image(data: bytes) -> Image.Image:
    """An encoded picture, decoded by PIL in its own mode.

    Raises:
        UnreadablePictureError: the bytes are no picture, a damaged one, or one too large.
    """
    image = _opened(data)
    try:
        image.load()
    except Exception as error:  # PIL has a decoder for each format, and each its own
        raise UnreadablePictureError("damaged, or of another format") from error
    return image


def _opened(data: bytes) -> Image.Image:
    """The picture, of which PIL has read the header only.

    Raises:
        UnreadablePictureError: it is none, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnreadablePictureError("of so many pixels that it is too large") from error
    except Exception as error:  # likewise
        raise UnreadablePictureError("damaged, or of another format") from error
    check_size(*image.size)
    return image


def check_size(width: int, height: int) -> None:
    """Raise UnreadablePictureError for more pixels than a picture may have, or a shape that resizing makes too long."""
    if width * height > MOST_PIXELS or max(width, height) > LONGEST * min(width, height):
        raise UnreadablePictureError(f"of {width} x {height} pixels, which is too large or too long")


def header_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the header of a PNG or JPEG says, much faster than PIL does; None where it must be asked."""
    if data.startswith(PNG):
        return struct.unpack(">II", data[16:24]) if len(data) >= 24 else None
    place = 2
    while data.startswith(JPEG) and place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame; the others are tables
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        place += 2 + length
    return None
