"""Reading of image files, which may be missing or can't be read."""

from __future__ import annotations

from pathlib import Path

from tracer_lightning.data.shards.tar import MEMBER_BYTES
from tracer_lightning.storage import check_regular


class Unread(bytes):
    """Empty content of a file that can't be read; decoding it raises an error with the reason.

    Args:
        reason: why the file can't be read.
    """

    reason: str

    def __new__(cls, reason: str) -> Unread:
        """No bytes, with a reason."""
        content = super().__new__(cls)
        content.reason = reason
        return content


def read_image(path: Path) -> bytes:
    """Read an encoded image; a file that is missing, is no regular file or can't be read gives :class:`Unread`.

    Of a file larger than any image, only the beginning is read, which can't be decoded.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            return file.read(MEMBER_BYTES)
    except FileNotFoundError:
        return Unread("missing")
    except (OSError, ValueError) as error:
        return Unread(f"not a file that can be read ({error})")
