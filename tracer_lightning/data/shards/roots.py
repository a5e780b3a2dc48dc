"""Where shards live: a folder, a web address, a data set on the Hugging Face hub."""

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

from tracer_lightning.data.shards.http import HttpStream
from tracer_lightning.data.shards.tar import SHARD_BYTES
from tracer_lightning.data.shards.web import check_address
from tracer_lightning.storage import atomic_file, check_regular, check_relative

CHUNK = 1 << 20
BUFFER = 1 << 18
HUB = re.compile(r"hf://datasets/(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[^/]*))?(/(?P<folder>.*))?")


class Root(Protocol):
    """A place that holds files by relative name."""

    remote: bool
    """Whether fetching a file means to download it."""
    address: str
    """For messages."""

    def fetch(self, name: str, limit: int = SHARD_BYTES) -> Path:
        """The file on this machine, downloaded once where it is remote.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the name leads out of the root, the file is none, or it has more than ``limit`` bytes, which is
                noticed before more of them are downloaded; it does not matter for files on this machine.
        """

    def open(self, name: str, limit: int = SHARD_BYTES) -> IO[bytes]:
        """The file's bytes from its beginning, without keeping them; the exceptions of :meth:`fetch`."""


class LocalRoot:
    """A folder; symbolic links in it, which whoever has the folder made, are followed."""

    remote = False

    def __init__(self, folder: Path) -> None:
        self.folder, self.address = folder, str(folder)

    def fetch(self, name: str, limit: int = SHARD_BYTES) -> Path:
        """The file itself."""
        path = self.folder / check_relative(name)
        if not path.exists():
            raise FileNotFoundError(f"no {path}")
        check_regular(path)
        return path

    def open(self, name: str, limit: int = SHARD_BYTES) -> IO[bytes]:
        """The opened file."""
        return self.fetch(name, limit).open("rb")


class HttpRoot:
    """A web address; downloads are kept under names that tell equal file names of different addresses apart."""

    remote = True

    def __init__(self, address: str, cache: Path) -> None:
        check_address(address)
        self.address = address.rstrip("/")
        self.cache = cache / hashlib.sha256(self.address.encode()).hexdigest()[:16]

    def fetch(self, name: str, limit: int = SHARD_BYTES) -> Path:
        """The downloaded file, as a whole or not at all; a lock keeps processes apart."""
        path = self.cache / check_relative(name)
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                with self._stream(name, limit) as stream, atomic_file(path) as partial, partial.open("wb") as target:
                    shutil.copyfileobj(stream, target, CHUNK)
        return path

    def open(self, name: str, limit: int = SHARD_BYTES) -> IO[bytes]:
        """The response, continued where it is dropped."""
        return _buffered(self._stream(name, limit))

    def _stream(self, name: str, limit: int) -> HttpStream:
        return HttpStream(f"{self.address}/{urllib.parse.quote(check_relative(name))}", limit=limit)


class HubRoot:
    """A data set on the Hugging Face hub; downloads are kept in the hub's own cache."""

    remote = True

    def __init__(self, address: str) -> None:
        found = HUB.fullmatch(address)
        if found is None:
            raise ValueError(
                f"{address}: an address on the hub is hf://datasets/OWNER/NAME or with @REVISION behind it"
            )
        self.address = address
        self.repo, self.revision, self.folder = found["repo"], found["revision"], found["folder"] or ""

    @cached_property
    def commit(self) -> str | None:
        """What the revision stands for, asked once, so that a file already there needs no request."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        try:
            return HfApi().repo_info(self.repo, repo_type="dataset", revision=self.revision).sha
        except RepositoryNotFoundError as error:
            raise ValueError(f"there is no data set {self.repo} on the hub, or not without a login") from error
        except RevisionNotFoundError as error:
            raise ValueError(f"the data set {self.repo} on the hub has no revision {self.revision}") from error
        except Exception:  # of the hub's HTTP library, whichever it is: what was downloaded before may do
            return self.revision

    def fetch(self, name: str, limit: int = SHARD_BYTES) -> Path:
        """The file in the hub's cache."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        try:
            # Asked for by its name, a revision is remembered for runs without a connection; shards are too many to ask.
            revision = self.commit if name.endswith(".tar") else self.revision
            self._check_size(name, revision, limit)
            return Path(hf_hub_download(self.repo, self._file(name), repo_type="dataset", revision=revision))
        except LocalEntryNotFoundError as error:
            raise ValueError(
                f"the hub can't be reached, and {name} of {self.repo} was not downloaded before"
            ) from error
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"no {self._file(name)} in {self.repo} on the hub") from error
        except HfHubHTTPError as error:
            raise ValueError(f"{self._file(name)} of {self.repo} can't be downloaded: {error}") from error

    def _check_size(self, name: str, revision: str | None, limit: int) -> None:
        """Raise ValueError for a file that the hub says is too large, unless it is here or the hub can't be reached."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

        file = self._file(name)
        if isinstance(try_to_load_from_cache(self.repo, file, revision=revision, repo_type="dataset"), str):
            return
        try:
            size = get_hf_file_metadata(hf_hub_url(self.repo, file, repo_type="dataset", revision=revision)).size
        except Exception:  # the download itself says what is wrong
            return
        if size is None or size > limit:
            raise ValueError(f"{self.address}/{name} has {size} bytes, and may have {limit:,}")

    def open(self, name: str, limit: int = SHARD_BYTES) -> IO[bytes]:
        """The file's bytes as they come."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        address = hf_hub_url(self.repo, self._file(name), repo_type="dataset", revision=self.commit)
        return _buffered(HttpStream(address, build_hf_headers(), limit))

    def _file(self, name: str) -> str:
        return check_relative(f"{self.folder.rstrip('/')}/{name}".lstrip("/"))


class FetchingRoot:
    """A root whose files are fetched and kept when they are opened."""

    remote = True

    def __init__(self, root: Root) -> None:
        self.root, self.address = root, root.address

    def fetch(self, name: str, limit: int = SHARD_BYTES) -> Path:
        """The file on this machine."""
        return self.root.fetch(name, limit)

    def open(self, name: str, limit: int = SHARD_BYTES) -> IO[bytes]:
        """The file on this machine, from its beginning."""
        return self.fetch(name, limit).open("rb")


def _buffered(stream: HttpStream) -> IO[bytes]:
    return io.BufferedReader(stream, BUFFER)


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
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise NotADirectoryError(f"{root}: no such folder")
    return LocalRoot(folder)
