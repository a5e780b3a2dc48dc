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
from urllib.parse import urlsplit

from typing_extensions import Buffer

from tracer_lightning.data.shards.tar import SHARD_BYTES

TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
SLOWEST = 1 << 14
"""The fewest bytes that a server must send in ``TIMEOUT`` seconds of waiting for it: 16 KiB."""
ATTEMPTS = 7
"""Connections in a row that bring less than ``SLOWEST``, after which reading is given up: about a minute."""
REDIRECTS = 5
"""The most addresses that a request is sent on to."""
PASSING = (408, 425, 429)
"""Answers of the client's kind that another attempt may mend; those of the server's kind all may."""


class _TooSlowError(Exception):
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
                raise _TooSlowError(
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


def _opener() -> urllib.request.OpenerDirector:
    """What opens web addresses, and no others: urllib's own opens FTP and files, too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        *(urllib.request.ProxyHandler(), _Http(), _Https(), _Redirects()),
        *(urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor()),
    ):
        opener.add_handler(handler)
    return opener


def check_address(address: str) -> None:
    """Raise ValueError, which does not repeat it, for a web address without a host or with a login in it."""
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise ValueError(f"{parts.scheme}://...@{parts.hostname}: an address with a login in it is not read")
    if not parts.hostname or parts.port == 0:
        raise ValueError(f"{address}: an address must name a host")


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
            except (ValueError, _TooSlowError) as error:
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
            response = _opener().open(request, timeout=TIMEOUT)
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
