"""Reading over HTTP from servers that drop connections, or that nobody vouches for."""

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
from tracer_lightning.data.shards.web import SLOWEST, TooSlowError, check_address, opener

ATTEMPTS = 7
"""Connections in a row that bring less than ``SLOWEST``, after which reading is given up: about a minute."""
PASSING = (408, 425, 429)
"""Answers of the client's kind that another attempt may mend; those of the server's kind all may."""


class HttpStream(io.RawIOBase):
    """The bytes at an address; where a connection ends early, the next one goes on from there.

    Args:
        address: ``http://`` or ``https://``.
        headers: of every request; not sent to hosts that it is redirected to.
        limit: the most bytes that there may be, after which no more are read.

    Raises:
        FileNotFoundError: there is nothing at the address.
        ValueError: it may not be read, is larger than the limit, has changed while it was read, could not be reached
            for about a minute, or its server is too slow, contradicts itself, or sends on to something else.
    """

    def __init__(self, address: str, headers: Mapping[str, str] | None = None, limit: int = SHARD_BYTES) -> None:
        self.address, self.limit, self.headers = address, limit, dict(headers or {})
        self.position = 0
        self.size: int | None = None
        """Bytes in all, where the server tells."""
        self._response: Any = None
        self._failures, self._brought = 0, 0
        self._version: str | None = None
        check_address(address)
        self._attempt(self._connect)

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill the buffer, at least in part; 0 at the end."""
        view = memoryview(buffer)
        count: int = self._attempt(lambda: self._read(view))
        self.position += count
        self._brought += count
        if self._brought >= SLOWEST:
            self._failures = 0
        if self.position > self.limit:
            raise self._too_large()
        if self.size is not None and self.position > self.size:
            raise ValueError(f"{self.address} brings more than the {self.size:,} bytes that it announced")
        return count

    def close(self) -> None:
        """End the connection."""
        self._disconnect()
        super().close()

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response, self._brought = None, 0

    def _too_large(self) -> ValueError:
        return ValueError(f"{self.address} has more than the {self.limit:,} bytes that it may have")

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
                named = str(error).startswith(self.address)
                raise ValueError(str(error) if named else f"{self.address} {error}") from error
            except (http.client.HTTPException, OSError) as error:
                self._disconnect()
                self._failures += 1
                if self._failures == ATTEMPTS:
                    reason = str(error) or type(error).__name__
                    raise ValueError(f"{self.address} could not be read in {ATTEMPTS} attempts: {reason}") from error
                time.sleep(0.5 * 2**self._failures)

    def _connect(self) -> None:
        request = urllib.request.Request(self.address)
        for name, value in self.headers.items():
            request.add_unredirected_header(name, value)
        if self.position:
            request.add_header("Range", f"bytes={self.position}-")
        try:
            response = opener().open(request, timeout=web.TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                raise FileNotFoundError(f"no {self.address}") from error
            if error.code < 500 and error.code not in PASSING:
                raise ValueError(f"{self.address} may not be read: {error.code} {str(error.reason)[:200]}") from error
            raise
        self._response = response
        begin = self._begin(response)
        while begin < self.position:  # a server without ranges starts over
            skipped = len(response.read1(min(1 << 20, self.position - begin)))
            if not skipped:
                raise ConnectionError(f"the connection was dropped at byte {begin}")
            begin += skipped

    def _begin(self, response: Any) -> int:
        """The position of a response's first byte, once its size is found to be told truly and to be allowed."""
        version = response.headers.get("ETag")
        if self.position and version != self._version:
            raise ValueError(f"{self.address} has changed while it was read")
        self._version = version
        part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if response.status == 206 and part and self.position and int(part[1]) == self.position:
            begin = self.position
        elif response.status == 200:
            begin = 0
        else:
            raise ValueError(f"{self.address} answers with {response.status} and another part than was asked for")
        lengths = set(response.headers.get_all("Content-Length", []))
        if len(lengths) > 1 or not all(re.fullmatch(r"\d{1,18}", length) for length in lengths):
            raise ValueError(f"{self.address} has the size {', '.join(sorted(lengths))[:100]!r}, which is none")
        size = begin + int(lengths.pop()) if lengths else self.size
        total = part[3] if part else "*"
        if self.size not in (None, size) or total not in ("*", str(size)):
            raise ValueError(f"{self.address} has changed while it was read")
        if size is not None and size > self.limit:
            raise self._too_large()
        self.size = size
        return begin
