"""Locations of files: local folders, web addresses, and datasets on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import urllib.parse
from functools import cached_property
from pathlib import Path
from typing import IO, Protocol

from filelock import FileLock

from tracer_lightning.data.shards.http import HttpStream, UnreachableError
from tracer_lightning.data.shards.tar import SHARD_BYTES
from tracer_lightning.data.shards.web import check_address
from tracer_lightning.storage import atomic_file, check_regular, check_relative

CHUNK = 1 << 20
BUFFER = 1 << 18
MISSING = ".missing"
"""Suffix of empty files in the cache that record which files the server lacked, for when it can't be reached."""
HUB = re.compile(r"hf://datasets/(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[^/]*))?(/(?P<folder>.*))?")


class Root(Protocol):
    """Interface of locations that contain files by relative name."""

    remote: bool
    """Whether files must be downloaded."""
    address: str
    """Address of the root, for messages."""

    def fetch(self, name: str, limit: int = SHARD_BYTES) -> Path:
        """Return the path of the local file, after downloading it once where it is remote.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the name is not a relative path within the root, the file is not a regular file, or a remote
                file has more than ``limit`` bytes, in which case its download is stopped.
        """

    def open(self, name: str, limit: int = SHARD_BYTES) -> IO[bytes]:
        """Open the file for reading without storing it locally; raises the exceptions of :meth:`fetch`."""


class LocalRoot:
    """Local folder; symbolic links in it are followed, since the folder's owner made them."""

    remote = False

    def __init__(self, folder: Path) -> None:
        self.folder, self.address = folder, str(folder)

    def fetch(self, name: str, limit: int = SHARD_BYTES) -> Path:
        """Return the path of the file."""
        path = self.folder / check_relative(name)
        if not path.exists():
            raise FileNotFoundError(f"no {path}")
        check_regular(path)
        return path

    def open(self, name: str, limit: int = SHARD_BYTES) -> IO[bytes]:
        """Open the file."""
        return self.fetch(name, limit).open("rb")


class HttpRoot:
    """Web address; downloads are cached in a folder per address."""

    remote = True

    def __init__(self, address: str, cache: Path) -> None:
        check_address(address)
        self.address = address.rstrip("/")
        self.cache = cache / hashlib.sha256(self.address.encode()).hexdigest()[:16]

    def fetch(self, name: str, limit: int = SHARD_BYTES) -> Path:
        """Download the file atomically, in one process at a time."""
        path = self.cache / check_relative(name)
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        missing = path.with_name(f"{path.name}{MISSING}")
        with FileLock(f"{path}.lock"):
            if not path.exists():
                try:
                    self._download(name, limit, path)
                except FileNotFoundError:
                    missing.touch()
                    raise
                except UnreachableError as error:
                    if missing.exists():
                        raise FileNotFoundError(f"no {self.address}/{name}") from error
                    raise
                missing.unlink(missing_ok=True)
        return path

    def _download(self, name: str, limit: int, path: Path) -> None:
        with self._stream(name, limit) as stream, atomic_file(path) as partial, partial.open("wb") as target:
            shutil.copyfileobj(stream, target, CHUNK)

    def open(self, name: str, limit: int = SHARD_BYTES) -> IO[bytes]:
        """Open a stream that resumes dropped connections."""
        return _buffered(self._stream(name, limit))

    def _stream(self, name: str, limit: int) -> HttpStream:
        return HttpStream(f"{self.address}/{urllib.parse.quote(check_relative(name))}", limit=limit)


class HubRoot:
    """Dataset on the Hugging Face hub; downloads are stored in the hub's own cache."""

    remote = True

    def __init__(self, address: str) -> None:
        match = HUB.fullmatch(address)
        if match is None:
            raise ValueError(f"{address}: a hub address must be hf://datasets/OWNER/NAME or .../NAME@REVISION")
        self.address = address
        self.repo, self.revision, self.folder = match["repo"], match["revision"], match["folder"] or ""

    @cached_property
    def commit(self) -> str | None:
        """Commit of the revision, requested once, so that cached files need no requests."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        try:
            return HfApi().repo_info(self.repo, repo_type="dataset", revision=self.revision).sha
        except RepositoryNotFoundError as error:
            raise ValueError(f"the dataset {self.repo} does not exist on the hub, or needs a login") from error
        except RevisionNotFoundError as error:
            raise ValueError(f"the dataset {self.repo} on the hub has no revision {self.revision}") from error
        except Exception:  # any HTTP library: the cache may have the files
            return self.revision

    def fetch(self, name: str, limit: int = SHARD_BYTES) -> Path:
        """Return the path of the file in the hub's cache."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        try:
            # By revision, the hub's cache also works offline; by commit, the many shards need no further requests.
            revision = self.commit if name.endswith(".tar") else self.revision
            self._check_size(name, revision, limit)
            return Path(hf_hub_download(self.repo, self._file(name), repo_type="dataset", revision=revision))
        except LocalEntryNotFoundError as error:
            if self._is_known_missing(name):
                raise FileNotFoundError(f"no {self._file(name)} in {self.repo} on the hub") from error
            raise ValueError(f"the hub can't be reached, and {name} of {self.repo} is not in the cache") from error
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"no {self._file(name)} in {self.repo} on the hub") from error
        except HfHubHTTPError as error:
            raise ValueError(f"{self._file(name)} of {self.repo} can't be downloaded: {error}") from error

    def _is_known_missing(self, name: str) -> bool:
        """Whether the hub's cache records that the revision has no such file."""
        from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

        cached = try_to_load_from_cache(self.repo, self._file(name), revision=self.revision, repo_type="dataset")
        return cached is _CACHED_NO_EXIST

    def _check_size(self, name: str, revision: str | None, limit: int) -> None:
        """Raise ValueError for a file that is too large according to the hub, unless it is cached."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

        file = self._file(name)
        if isinstance(try_to_load_from_cache(self.repo, file, revision=revision, repo_type="dataset"), str):
            return
        try:
            size = get_hf_file_metadata(hf_hub_url(self.repo, file, repo_type="dataset", revision=revision)).size
        except Exception:  # the download reports the problem
            return
        if size is None or size > limit:
            raise ValueError(f"{self.address}/{name} has {size} bytes, more than the {limit:,} allowed")

    def open(self, name: str, limit: int = SHARD_BYTES) -> IO[bytes]:
        """Open a stream that resumes dropped connections."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        address = hf_hub_url(self.repo, self._file(name), repo_type="dataset", revision=self.commit)
        return _buffered(HttpStream(address, build_hf_headers(), limit))

    def _file(self, name: str) -> str:
        return check_relative(f"{self.folder.rstrip('/')}/{name}".lstrip("/"))


class FetchingRoot:
    """Root that stores files locally when they are opened."""

    remote = True

    def __init__(self, root: Root) -> None:
        self.root, self.address = root, root.address

    def fetch(self, name: str, limit: int = SHARD_BYTES) -> Path:
        """Return the path of the local file."""
        return self.root.fetch(name, limit)

    def open(self, name: str, limit: int = SHARD_BYTES) -> IO[bytes]:
        """Open the local file."""
        return self.fetch(name, limit).open("rb")


def _buffered(stream: HttpStream) -> IO[bytes]:
    return io.BufferedReader(stream, BUFFER)


def open_root(root: str, cache: Path) -> Root:
    """Open the root at an address.

    Args:
        root: folder, ``http(s)://`` address or ``hf://datasets/OWNER/NAME@REVISION``.
        cache: local folder for downloads.

    Raises:
        NotADirectoryError: there is no such local folder.
    """
    if root.startswith("hf://"):
        return HubRoot(root)
    if root.startswith(("http://", "https://")):
        return HttpRoot(root, cache)
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise NotADirectoryError(f"{root}: no such folder")
    return LocalRoot(folder)
