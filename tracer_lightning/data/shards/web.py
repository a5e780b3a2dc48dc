"""Opening HTTP addresses of untrusted servers: limited redirects, no other schemes, a minimum transfer rate."""

from __future__ import annotations

import http.client
import io
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import Buffer

TIMEOUT = 60.0
"""Maximum seconds without a byte."""
MIN_BYTES = 1 << 14
"""Minimum number of bytes that a server must send in ``TIMEOUT`` seconds of waiting: 16 KiB."""
MAX_REDIRECTS = 5
"""Maximum number of redirects of a request."""


class TooSlowError(Exception):
    """Raised for a too slow connection; not a ValueError, which http.client takes for an invalid chunk size."""


class _RateLimitedStream(io.RawIOBase):
    """Stream of a connection's bytes that fails below the minimum transfer rate."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw, self._seconds, self._count = raw, 0.0, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        """Read the connection's next bytes into the buffer."""
        start = time.monotonic()
        count = self._raw.readinto(buffer)
        self._seconds += time.monotonic() - start
        self._count += count or 0
        if self._seconds > TIMEOUT:
            if count and self._count < MIN_BYTES:
                raise TooSlowError(f"sent {self._count:,} bytes in {self._seconds:.0f} s, which is too slow")
            self._seconds, self._count = 0.0, 0
        return count

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """Response whose headers, body and chunk framing are read at a minimum rate."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fp: Any = io.BufferedReader(_RateLimitedStream(self.fp.detach()))


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_Connection, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_SecureConnection, request, context=self._context)  # type: ignore[attr-defined]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirect handler that follows only HTTP addresses, and never from https to http."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request to the new address, without the headers meant for the first host only."""
        fp.close()  # urllib would read its body, which may be endless
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise ValueError(f"redirects to an address of {scheme or 'no scheme'}://, which is not followed")
        check_address(newurl)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            request.remove_header("Proxy-authorization")  # urllib adds it again where the new address has a proxy
        return request


def build_opener() -> urllib.request.OpenerDirector:
    """Build an opener of HTTP addresses only; urllib's default also opens FTP and files."""
    director = urllib.request.OpenerDirector()
    for handler in (
        *(urllib.request.ProxyHandler(), _Http(), _Https(), _Redirects()),
        *(urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor()),
    ):
        director.add_handler(handler)
    return director


def check_address(address: str) -> None:
    """Raise ValueError for an address without a host or with a login, which the message does not repeat."""
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise ValueError(f"{parts.scheme}://...@{parts.hostname}: addresses must not contain a login")
    if not parts.hostname or parts.port == 0:
        raise ValueError(f"{address}: the address has no host")
