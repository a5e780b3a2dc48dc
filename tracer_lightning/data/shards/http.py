"""Reading over HTTP from unreliable and untrusted servers."""

from __future__ import annotations

import http.client
import io
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from typing_extensions import Buffer

from tracer_lightning.data.shards import web
from tracer_lightning.data.shards.tar import SHARD_BYTES
from tracer_lightning.data.shards.web import MIN_BYTES, TooSlowError, build_opener, check_address

ATTEMPTS = 7
"""Number of consecutive connections with less than ``MIN_BYTES`` each after which reading fails: about a minute."""
RETRIED_STATUSES = (408, 425, 429)
"""Client errors that are retried; server errors always are."""


class UnreachableError(ValueError):
    """Raised for a server that does not answer, or whose connections are dropped again and again."""


class HttpStream(io.RawIOBase):
    """Stream of the bytes at an address; dropped connections are resumed.

    Args:
        address: ``http://`` or ``https://`` address.
        headers: headers of every request; they are not sent to other hosts after a redirect.
        limit: maximum number of bytes.

    Raises:
        FileNotFoundError: the server answers with 404.
        ValueError: access is denied, the content is larger than the limit or has changed while it was read, the server
            can't be reached for about a minute, is too slow, contradicts itself, or redirects to a forbidden address.
    """

    def __init__(self, address: str, headers: Mapping[str, str] | None = None, limit: int = SHARD_BYTES) -> None:
        self.address, self.limit, self.headers = address, limit, dict(headers or {})
        self.position = 0
        self.size: int | None = None
        """Total number of bytes, where the server announces it."""
        self._response: Any = None
        self._failures, self._received = 0, 0
        self._version: str | None = None
        check_address(address)
        self._attempt(self._connect)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read into the buffer; return the number of bytes, 0 at the end."""
        view = memoryview(buffer)
        count: int = self._attempt(lambda: self._read(view))
        self.position += count
        self._received += count
        if self._received >= MIN_BYTES:
            self._failures = 0
        if self.position > self.limit:
            raise self._too_large()
        if self.size is not None and self.position > self.size:
            raise ValueError(f"{self.address} sends more than the {self.size:,} bytes that it announced")
        return count

    def close(self) -> None:
        """Close the connection."""
        self._disconnect()
        super().close()

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response, self._received = None, 0

    def _too_large(self) -> ValueError:
        return ValueError(f"{self.address} has more than the {self.limit:,} bytes allowed")

    def _read(self, view: memoryview) -> int:
        if self._response is None:
            self._connect()
        content: bytes = self._response.read1(len(view))
        if not content and len(view) and self.size is not None and self.position < self.size:
            raise ConnectionError(f"the connection was dropped at byte {self.position}")
        view[: len(content)] = content
        return len(content)

    def _attempt(self, action: Any) -> Any:
        while True:
            try:
                return action()
            except FileNotFoundError:
                raise
            except (ValueError, TooSlowError) as error:
                self._disconnect()
                has_address = str(error).startswith(self.address)
                raise ValueError(str(error) if has_address else f"{self.address} {error}") from error
            except (http.client.HTTPException, OSError) as error:
                self._disconnect()
                self._failures += 1
                if self._failures == ATTEMPTS:
                    reason = str(error) or type(error).__name__
                    raise UnreachableError(
                        f"{self.address} could not be read in {ATTEMPTS} attempts: {reason}"
                    ) from error
                time.sleep(0.5 * 2**self._failures)

    def _connect(self) -> None:
        request = urllib.request.Request(self.address)
        for name, value in self.headers.items():
            request.add_unredirected_header(name, value)
        if self.position:
            request.add_header("Range", f"bytes={self.position}-")
        try:
            response = build_opener().open(request, timeout=web.TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                raise FileNotFoundError(f"no {self.address}") from error
            if error.code < 500 and error.code not in RETRIED_STATUSES:
                raise ValueError(f"{self.address} can't be read: {error.code} {str(error.reason)[:200]}") from error
            raise
        self._response = response
        start = self._check_response(response)
        while start < self.position:  # a server without ranges starts over
            skipped = len(response.read1(min(1 << 20, self.position - start)))
            if not skipped:
                raise ConnectionError(f"the connection was dropped at byte {start}")
            start += skipped

    def _check_response(self, response: Any) -> int:
        """Check a response's range, size and version; return the position of its first byte."""
        version = response.headers.get("ETag")
        if self.position and version != self._version:
            raise ValueError(f"{self.address} has changed while it was read")
        self._version = version
        part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if response.status == 206 and part and self.position and int(part[1]) == self.position:
            start = self.position
        elif response.status == 200:
            start = 0
        else:
            raise ValueError(f"{self.address} answers with {response.status} and not the requested range")
        lengths = set(response.headers.get_all("Content-Length", []))
        if len(lengths) > 1 or not all(re.fullmatch(r"\d{1,18}", length) for length in lengths):
            raise ValueError(f"{self.address} has the size {', '.join(sorted(lengths))[:100]!r}, which is invalid")
        size = start + int(lengths.pop()) if lengths else self.size
        total = part[3] if part else "*"
        if self.size not in (None, size) or total not in ("*", str(size)):
            raise ValueError(f"{self.address} has changed while it was read")
        if size is not None and size > self.limit:
            raise self._too_large()
        self.size = size
        return start
