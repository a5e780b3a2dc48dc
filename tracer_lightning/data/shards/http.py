"""Reading over HTTP from servers that drop connections."""

from __future__ import annotations

import http.client
import io
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from typing_extensions import Buffer

TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
ATTEMPTS = 7
"""Connections in a row that bring nothing, after which reading is given up: about a minute."""
PASSING = (408, 425, 429)
"""Answers of the client's kind that another attempt may mend; those of the server's kind all may."""


class HttpStream(io.RawIOBase):
    """The bytes at an address; where a connection ends early, the next one goes on from there.

    Args:
        address: ``http://`` or ``https://``.
        headers: of every request; not sent to hosts that it is redirected to.

    Raises:
        FileNotFoundError: there is nothing at the address.
        ValueError: it may not be read, has changed while it was read, or could not be reached for about a minute.
    """

    def __init__(self, address: str, headers: Mapping[str, str] | None = None) -> None:
        self.address, self.headers = address, dict(headers or {})
        self.position = 0
        self.size: int | None = None
        """Bytes in all, where the server tells."""
        self._response: Any = None
        self._failures = 0
        self._version: str | None = None
        self._attempt(self._connect)

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill the buffer, at least in part; 0 at the end."""
        view = memoryview(buffer)
        count: int = self._attempt(lambda: self._read(view))
        self.position += count
        return count

    def close(self) -> None:
        """End the connection."""
        if self._response is not None:
            self._response.close()
        super().close()

    def _read(self, view: memoryview) -> int:
        if self._response is None:
            self._connect()
        count: int = self._response.readinto(view)
        if count == 0 and len(view) and self.size is not None and self.position < self.size:
            raise ConnectionError(f"the connection was dropped at byte {self.position}")
        return count

    def _attempt(self, action: Any) -> Any:
        while True:
            try:
                result = action()
            except (FileNotFoundError, ValueError):
                raise
            except (http.client.HTTPException, OSError) as error:
                self._response = None
                self._failures += 1
                if self._failures == ATTEMPTS:
                    reason = str(error) or type(error).__name__
                    raise ValueError(f"{self.address} could not be read in {ATTEMPTS} attempts: {reason}") from error
                time.sleep(0.5 * 2**self._failures)
                continue
            if result:
                self._failures = 0
            return result

    def _connect(self) -> None:
        request = urllib.request.Request(self.address)
        for name, value in self.headers.items():
            request.add_unredirected_header(name, value)
        if self.position:
            request.add_header("Range", f"bytes={self.position}-")
        try:
            response = urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise FileNotFoundError(f"no {self.address}") from error
            if error.code < 500 and error.code not in PASSING:
                raise ValueError(f"{self.address} may not be read: {error.code} {error.reason}") from error
            raise
        version = response.headers.get("ETag")
        if self.position and version != self._version:
            raise ValueError(f"{self.address} has changed while it was read")
        self._version = version
        begin = self.position if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        self.size = None if length is None else begin + int(length)
        while begin < self.position:  # a server without ranges starts over
            skipped = len(response.read(min(1 << 20, self.position - begin)))
            if not skipped:
                raise ConnectionError(f"the connection was dropped at byte {begin}")
            begin += skipped
        self._response = response
