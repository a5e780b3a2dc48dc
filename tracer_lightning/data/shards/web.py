"""Opening web addresses, and nothing else, of servers that nobody vouches for."""

from __future__ import annotations

import http.client
import io
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import Buffer

TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
SLOWEST = 1 << 14
"""The fewest bytes that a server must send in ``TIMEOUT`` seconds of waiting for it: 16 KiB."""
REDIRECTS = 5
"""The most addresses that a request is sent on to."""


class TooSlowError(Exception):
    """A connection may never end; no ValueError, which http.client takes for a mistake in a chunk's size."""


class _Paced(io.RawIOBase):
    """The bytes of a connection, which is given up where they come so slowly that it might never end."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw, self._seconds, self._count = raw, 0.0, 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        """What the connection brings next."""
        start = time.monotonic()
        count = self._raw.readinto(buffer)
        self._seconds += time.monotonic() - start
        self._count += count or 0
        if self._seconds > TIMEOUT:
            if count and self._count < SLOWEST:
                raise TooSlowError(
                    f"brought {self._count:,} bytes in {self._seconds:.0f} s, which is too slow to go on"
                )
            self._seconds, self._count = 0.0, 0
        return count

    def close(self) -> None:
        """End the connection."""
        self._raw.close()
        super().close()


class _PacedResponse(http.client.HTTPResponse):
    """A response whose head and body, and all that stands around its chunks, come at a pace."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fp: Any = io.BufferedReader(_Paced(self.fp.detach()))


class _Connection(http.client.HTTPConnection):
    response_class = _PacedResponse


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _PacedResponse


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_Connection, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_SecureConnection, request, context=self._context)  # type: ignore[attr-defined]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Sends a request on to web addresses only, and never from a connection that is encrypted to one that is not."""

    max_redirections = REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request at the new address, without the headers that stay with the first host."""
        fp.close()  # its body, which urllib would read, may have no end
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise ValueError(f"sends on to an address of {scheme or 'no scheme'}://, which is not followed")
        check_address(newurl)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            request.remove_header("Proxy-authorization")  # a proxy that is used for the new address gets it again
        return request


def opener() -> urllib.request.OpenerDirector:
    """What opens web addresses, and no others: urllib's own opens FTP and files, too."""
    director = urllib.request.OpenerDirector()
    for handler in (
        *(urllib.request.ProxyHandler(), _Http(), _Https(), _Redirects()),
        *(urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor()),
    ):
        director.add_handler(handler)
    return director


def check_address(address: str) -> None:
    """Raise ValueError, which does not repeat it, for a web address without a host or with a login in it."""
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise ValueError(f"{parts.scheme}://...@{parts.hostname}: an address with a login in it is not read")
    if not parts.hostname or parts.port == 0:
        raise ValueError(f"{address}: an address must name a host")
