"""Downloads from servers with false sizes, endless bodies, or redirects elsewhere."""

import contextlib
import socket
import threading
import time

import pytest

from tracer_lightning.data.shards import http, web
from tracer_lightning.data.shards.http import HttpStream
from tracer_lightning.data.shards.roots import HttpRoot, HubRoot, open_root

LIMIT = 1000


@contextlib.contextmanager
def answering(*answers):
    """The host of a server that gives each connection the next answer, the last one again and again, and its requests.

    An answer is bytes, or a function that is given the connection.
    """
    requests, remaining = [], list(answers)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    requests.append(connection.recv(1 << 16).decode())
                    answer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
                    connection.sendall(answer) if isinstance(answer, bytes) else answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(http.time, "sleep", lambda seconds: None)


def response(*headers, body=b"", status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]).encode() + body


def endless(*headers, piece=b"x" * 4096):
    def answer(connection):
        connection.sendall(response(*headers))
        while True:
            connection.sendall(piece)

    return answer


def fetched(host, tmp_path, limit=LIMIT):
    """Download a file and check that nothing else is left in the folder."""
    try:
        return HttpRoot(f"http://{host}/data", tmp_path).fetch("train/nshards.txt", limit).read_bytes()
    finally:
        left = [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
        assert set(left) <= {"nshards.txt"}


@pytest.mark.parametrize(
    "answer",
    [
        endless(),
        endless("Transfer-Encoding: chunked", piece=b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        endless("Content-Length: 1000000000000"),
        response("Content-Length: 1001", body=b"x" * 1001),
    ],
    ids=["no length", "chunked", "long", "a byte too many"],
)
def test_more_than_the_limit_is_not_downloaded(tmp_path, answer):
    with answering(answer) as (host, _), pytest.raises(ValueError, match="has more than the 1,000 bytes"):
        fetched(host, tmp_path)
    assert not list(tmp_path.rglob("nshards.txt"))


def test_exactly_the_limit_is_downloaded(tmp_path):
    with answering(response("Content-Length: 1000", body=b"x" * 1000)) as (host, _):
        assert fetched(host, tmp_path) == b"x" * 1000


@pytest.mark.parametrize("length", ["-1", "1e3", "", "0x10", "1 000", "9" * 30, "+5", "²"])
def test_invalid_sizes_raise_errors(tmp_path, length):
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nx".encode("latin-1")
    with answering(answer) as (host, requests), pytest.raises(ValueError, match="which is invalid"):
        fetched(host, tmp_path)
    assert len(requests) == 1


def test_contradicting_sizes_raise_an_error(tmp_path):
    with (
        answering(response("Content-Length: 1", "Content-Length: 2", body=b"xx")) as (host, _),
        pytest.raises(ValueError, match="which is invalid"),
    ):
        fetched(host, tmp_path)


def test_bodies_of_another_length_than_announced_raise_errors(tmp_path):
    with (
        answering(response("Content-Length: 9", body=b"x")) as (host, requests),
        pytest.raises(ValueError, match="could not be read in 7 attempts"),
    ):
        fetched(host, tmp_path)
    assert len(requests) == 7
    chunked = response("Content-Length: 1", "Transfer-Encoding: chunked", body=b"5\r\nxxxxx\r\n0\r\n\r\n")
    with answering(chunked) as (host, _), pytest.raises(ValueError, match="sends more than the 1 bytes"):
        fetched(host, tmp_path)


BEGUN = response("Content-Length: 9", body=b"abc")


@pytest.mark.parametrize(
    "answer",
    [
        response("Content-Range: bytes 0-5/9", "Content-Length: 6", body=b"defghi", status="206 Partial Content"),
        response("Content-Range: bytes 3-8/10", "Content-Length: 6", body=b"defghi", status="206 Partial Content"),
        response("Content-Range: lines 3-8/9", "Content-Length: 6", body=b"defghi", status="206 Partial Content"),
        response("Content-Length: 6", body=b"defghi", status="206 Partial Content"),
        response("Content-Length: 7", body=b"abcdefg"),
    ],
    ids=["another part", "another size", "no bytes", "not said", "a shorter file"],
)
def test_a_wrong_range_raises_an_error(tmp_path, answer):
    with (
        answering(BEGUN, answer) as (host, requests),
        pytest.raises(ValueError, match=r"not the requested range|has changed"),
    ):
        fetched(host, tmp_path)
    assert "Range: bytes=3-" in requests[1]


def test_the_requested_range_is_accepted(tmp_path):
    rest = response("Content-Range: bytes 3-8/9", "Content-Length: 6", body=b"defghi", status="206 Partial Content")
    with answering(BEGUN, rest) as (host, _):
        assert fetched(host, tmp_path) == b"abcdefghi"


def test_an_unrequested_range_raises_an_error(tmp_path):
    part = response("Content-Range: bytes 3-8/9", "Content-Length: 6", body=b"defghi", status="206 Partial Content")
    with answering(part) as (host, _), pytest.raises(ValueError, match="answers with 206"):
        fetched(host, tmp_path)


@pytest.mark.parametrize(
    "target",
    ["ftp://127.0.0.1/x", "file:///etc/passwd", "data:text/plain,x", "gopher://x", "http://me:secret@127.0.0.1/"],
)
def test_redirects_to_other_schemes_raise_errors(tmp_path, target):
    with (
        answering(response(f"Location: {target}", status="302 Found")) as (host, requests),
        pytest.raises(ValueError, match=r"not followed|can't be read: 302|must not contain a login") as refusal,
    ):
        fetched(host, tmp_path)
    assert len(requests) == 1
    assert "secret" not in str(refusal.value)


def test_the_number_of_redirects_is_limited(tmp_path):
    with (
        answering(response("Location: /next", body=b"x" * 99, status="302 Found")) as (host, requests),
        pytest.raises(ValueError, match="can't be read: 302"),
    ):
        fetched(host, tmp_path)
    assert len(requests) < 20


def test_the_body_of_a_redirect_is_not_read(tmp_path):
    def redirect(connection):
        connection.sendall(response("Location: /there", status="302 Found"))
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"x" * 4096)

    with answering(redirect, response("Content-Length: 1", body=b"7")) as (host, _):
        assert fetched(host, tmp_path) == b"7"


def test_credentials_are_not_sent_to_other_hosts():
    with answering(response("Content-Length: 1", body=b"x")) as (other, elsewhere):
        moved = response(f"Location: http://{other}/x", status="302 Found")
        with answering(moved) as (host, requests):
            assert HttpStream(f"http://{host}/x", {"Authorization": "Bearer secret"}).read() == b"x"
    assert "secret" in requests[0]
    assert "secret" not in elsewhere[0]


def test_errors_do_not_repeat_credentials(tmp_path):
    for read in (lambda address: open_root(address, tmp_path), HttpStream):
        with pytest.raises(ValueError, match=r"http://\.\.\.@example\.org: .* must not contain a login") as refusal:
            read("http://me:secret@example.org/data")
        assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("dripped", [b"", b"x", b"1\r\nx\r\n"], ids=["head", "body", "chunks"])
def test_too_slow_servers_raise_errors(tmp_path, monkeypatch, dripped):
    monkeypatch.setattr(web, "TIMEOUT", 0.3)

    def drip(connection):
        if dripped:
            connection.sendall(response(*(["Transfer-Encoding: chunked"] if b"\r" in dripped else [])))
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Endless: ")
        for _ in range(100):
            connection.sendall(dripped or b"x")
            threading.Event().wait(0.1)

    start = time.monotonic()
    with answering(drip) as (host, _), pytest.raises(ValueError, match="which is too slow"):
        fetched(host, tmp_path)
    assert time.monotonic() - start < 8  # of the ten seconds that the server goes on


def test_servers_that_drop_every_connection_raise_an_error(tmp_path):
    answer = response("Content-Length: 500", body=b"x")
    with answering(answer) as (host, requests), pytest.raises(ValueError, match="in 7 attempts"):
        fetched(host, tmp_path)
    assert len(requests) < 20


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a\0b"])
def test_names_outside_of_a_root_are_never_requested(tmp_path, name):
    roots = (
        open_root(str(tmp_path), tmp_path),
        open_root("http://127.0.0.1:1/data", tmp_path / "cache"),
        HubRoot("hf://datasets/own/pets@v1/sub"),
    )
    for root in roots:
        for read in (root.fetch, root.open):
            with pytest.raises(ValueError, match="must be a relative path within its folder"):
                read(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["hf://datasets/../x", "hf://datasets/own/..", "hf://datasets/own/pets@.."])
def test_hub_addresses_outside_of_a_dataset_raise_errors(tmp_path, address):
    with pytest.raises(ValueError, match="hf://datasets/OWNER/NAME"):
        open_root(address, tmp_path)
