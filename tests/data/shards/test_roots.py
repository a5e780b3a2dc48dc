"""Remote roots, against a local server that stands in for the web."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.storage.killed import killed_while
from tracer_lightning.data.shards import http
from tracer_lightning.data.shards.roots import HttpRoot, HubRoot, LocalRoot, open_root
from tracer_lightning.storage import atomic_file

CONTENT = bytes(range(256)) * 4000


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; drops connections and ignores ranges on demand."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        for word, status in (("missing", 404), ("forbidden", 403)):
            if word in self.path:
                self.send_error(status)
                return
        start = 0
        if self.headers.get("Range") and server.ranges:
            start = int(self.headers["Range"][6:-1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        body = CONTENT[start:]
        self.send_header("Content-Length", str(len(body)))
        if version := next(server.versions, None):
            self.send_header("ETag", version)
        self.end_headers()
        if server.drops > 0:
            server.drops -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(http.time, "sleep", lambda seconds: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.drops, server.ranges, server.versions = [], 0, True, iter(())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def address(server, folder="data"):
    return f"http://127.0.0.1:{server.server_port}/{folder}"


def test_downloads_once(server, tmp_path):
    root = HttpRoot(address(server), tmp_path)
    assert root.fetch("train/0.tar").read_bytes() == CONTENT
    assert root.fetch("train/0.tar").read_bytes() == CONTENT
    assert len(server.requests) == 1
    with root.open("train/0.tar") as stream:
        assert stream.read() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_continues_dropped_connections(server, tmp_path, ranges):
    server.drops, server.ranges = 2, ranges
    assert HttpRoot(address(server), tmp_path).fetch("0.tar").read_bytes() == CONTENT
    assert len(server.requests) == 3
    assert server.requests[1][1] == f"bytes={len(CONTENT) // 2}-"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_dropped_stream_is_resumed(server, tmp_path, ranges):
    server.drops, server.ranges = 2, ranges
    with HttpRoot(address(server), tmp_path).open("0.tar") as stream:
        assert stream.read() == CONTENT
    assert len(server.requests) == 3
    assert not list(tmp_path.rglob("*.tar"))


def test_an_interrupted_download_starts_over(server, tmp_path):
    """The partial download may be of another version."""
    root = HttpRoot(address(server), tmp_path)
    root.cache.mkdir(parents=True)
    (root.cache / "0.tar.part").write_bytes(b"a user's")
    killed_while(atomic_file(root.cache / "0.tar"))
    assert root.fetch("0.tar").read_bytes() == CONTENT
    assert {path.name for path in root.cache.iterdir()} <= {"0.tar", "0.tar.part", "0.tar.lock"}
    assert (root.cache / "0.tar.part").read_bytes() == b"a user's"


def test_a_file_that_changes_while_it_is_read_raises_an_error(server, tmp_path):
    server.drops, server.versions = 1, iter(("one", "two"))
    with pytest.raises(ValueError, match=r"0\.tar has changed while it was read"):
        HttpRoot(address(server), tmp_path).fetch("0.tar")


def test_forbidden_addresses_are_not_retried(server, tmp_path):
    with pytest.raises(ValueError, match=r"forbidden\.txt can't be read: 403 Forbidden"):
        HttpRoot(address(server), tmp_path).fetch("forbidden.txt")
    assert len(server.requests) == 1


def test_names_are_quoted(server, tmp_path):
    HttpRoot(address(server), tmp_path).fetch("my data/0.tar")
    assert server.requests[0][0] == "/data/my%20data/0.tar"


def test_permanent_failures_raise_an_error_and_leave_no_file(server, tmp_path):
    server.drops, server.ranges = 100, False
    with pytest.raises(ValueError, match=r"0\.tar could not be read in 7 attempts: .*dropped"):
        HttpRoot(address(server), tmp_path).fetch("0.tar")
    assert not list(tmp_path.rglob("0.tar"))


def test_downloads_of_different_addresses_do_not_collide(server, tmp_path):
    first, second = (HttpRoot(address(server, name), tmp_path).fetch("0.tar") for name in ("a", "b"))
    assert first != second


def test_missing_files(server, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no http://.*missing\.txt"):
        HttpRoot(address(server), tmp_path).fetch("missing.txt")
    with pytest.raises(FileNotFoundError):
        LocalRoot(tmp_path).fetch("missing.txt")


def test_addresses(tmp_path):
    hub = open_root("hf://datasets/clip-benchmark/wds_imagenet-a@v1/sub", tmp_path)
    assert isinstance(hub, HubRoot)
    assert (hub.repo, hub.revision, hub.folder) == ("clip-benchmark/wds_imagenet-a", "v1", "sub")
    assert isinstance(open_root("https://example.org/data", tmp_path), HttpRoot)
    assert isinstance(open_root(str(tmp_path), tmp_path), LocalRoot)
    with pytest.raises(ValueError, match="hf://datasets/OWNER/NAME"):
        open_root("hf://models/x", tmp_path)
    with pytest.raises(NotADirectoryError, match=r"nowhere: no such folder"):
        open_root("nowhere", tmp_path)
