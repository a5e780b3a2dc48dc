"""Where shards live: a folder, a web address, a data set on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any, Protocol

from filelock import FileLock

TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
ATTEMPTS = 4
CHUNK = 1 << 20
HUB = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?(/(?P<folder>.*))?")


class Root(Protocol):
    """A place that holds files by relative name."""

    def fetch(self, name: str) -> Path:
        """The file on this machine, downloaded once where it is remote; FileNotFoundError where there is none."""

    def open(self, name: str) -> IO[bytes]:
        """The file's bytes from its beginning, without keeping them."""


class LocalRoot:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, name: str) -> Path:
        """The file itself."""
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(f"no {path}")
        return path

    def open(self, name: str) -> IO[bytes]:
        """The opened file."""
        return self.fetch(name).open("rb")


class HttpRoot:
    """A web address; downloads are kept under names that tell equal file names of different addresses apart."""

    def __init__(self, address: str, cache: Path) -> None:
        self.address = address.rstrip("/")
        self.cache = cache / hashlib.sha256(self.address.encode()).hexdigest()[:16]

    def fetch(self, name: str) -> Path:
        """The downloaded file; an interrupted download is continued, and a lock keeps processes apart."""
        path = self.cache / name
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                partial = path.with_name(path.name + ".part")
                self._download(name, partial)
                partial.replace(path)
        return path

    def _download(self, name: str, partial: Path) -> None:
        reason = ""
        for attempt in range(ATTEMPTS):
            time.sleep(0.2 * 2**attempt if attempt else 0.0)
            done = partial.stat().st_size if partial.exists() else 0
            try:
                with self._request(name, done) as response:
                    continued = done > 0 and response.status == 206
                    with partial.open("ab" if continued else "wb") as target:
                        shutil.copyfileobj(response, target, CHUNK)
                    length = response.headers.get("Content-Length")
            except (http.client.HTTPException, OSError) as error:
                if isinstance(error, FileNotFoundError):
                    raise
                reason = str(error) or type(error).__name__
                continue
            size = partial.stat().st_size
            if length is None or size == int(length) + (done if continued else 0):
                return
            reason = f"the connection was dropped at byte {size}"
        raise ValueError(f"{self.address}/{name} could not be downloaded in {ATTEMPTS} attempts: {reason}")

    def _request(self, name: str, start: int) -> Any:
        headers = {"Range": f"bytes={start}-"} if start else {}
        request = urllib.request.Request(f"{self.address}/{name}", headers=headers)
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise FileNotFoundError(f"no {self.address}/{name}") from error
            raise

    def open(self, name: str) -> IO[bytes]:
        """The response."""
        response: IO[bytes] = self._request(name, 0)
        return response


class HubRoot:
    """A data set on the Hugging Face hub, through its own library and cache."""

    def __init__(self, address: str) -> None:
        found = HUB.fullmatch(address)
        if found is None:
            raise ValueError(
                f"{address}: an address on the hub is hf://datasets/OWNER/NAME or with @REVISION behind it"
            )
        self.repo, self.revision, self.folder = found["repo"], found["revision"], found["folder"] or ""

    def fetch(self, name: str) -> Path:
        """The file in the hub's cache."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            file = hf_hub_download(
                self.repo, str(Path(self.folder) / name), repo_type="dataset", revision=self.revision
            )
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"no {name} in {self.repo}") from error
        return Path(file)

    def open(self, name: str) -> IO[bytes]:
        """A stream from the hub; unbuffered, so that a tar can be read as it comes."""
        from huggingface_hub import HfFileSystem

        place = f"datasets/{self.repo}{f'@{self.revision}' if self.revision else ''}"
        stream: IO[bytes] = HfFileSystem().open(os.path.join(place, self.folder, name), "rb", block_size=0)  # noqa: PTH118
        return stream


def open_root(root: str, cache: Path) -> Root:
    """The root that an address names.

    Args:
        root: folder, ``http(s)://`` address or ``hf://datasets/OWNER/NAME@REVISION``.
        cache: folder for downloads.
    """
    if root.startswith("hf://"):
        return HubRoot(root)
    if root.startswith(("http://", "https://")):
        return HttpRoot(root, cache)
    folder = Path(root)
    if not folder.is_dir():
        raise ValueError(f"data.root={root}: no such folder")
    return LocalRoot(folder)
