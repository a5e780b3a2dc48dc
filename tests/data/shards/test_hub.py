"""Data sets on the hub, with a local server that speaks its protocol."""

import hashlib
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.data.shards.helpers import served, write

COMMIT = "c0ffee" * 6 + "c0de"
SCRIPT = """
import json, sys
from tests.data.shards.helpers import TEXTS, seen, shards
place = {"folder": "wds_pets@v1", "split": "train"}
suite = {"pets": {"folder": "wds_pets@v1", "split": "test", "role": "id"}}
mode = sys.argv[1]
options = {"streams": 1, "stream": mode != "indexed"}
data = shards("hf://datasets/own", train=place, suite=suite, cache_dir=sys.argv[2], **options)
data.prepare_data()
data.setup("fit")
print(json.dumps([seen(data.train_dataloader()), seen(data.test_dataloader()[0])]))
"""


class Hub(BaseHTTPRequestHandler):
    """Serves the files below ``directory`` as one data set at one commit; drops the first connection to every tar."""

    def __init__(self, *args, directory, **options):
        self.folder = Path(directory)
        super().__init__(*args, **options)

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        log = self.folder.parents[1] / "requests.txt"
        seen = log.read_text().splitlines() if log.exists() else []
        log.write_text("\n".join([*seen, f"{self.command} {self.path}"]))
        if self.path.startswith("/api/datasets/own/wds_pets/revision/v1"):
            self.reply(200, json.dumps({"id": "own/wds_pets", "sha": COMMIT, "siblings": []}).encode(), body)
            return
        revision, _, name = self.path.removeprefix("/datasets/own/wds_pets/resolve/").partition("/")
        file = self.folder / name
        if revision not in (COMMIT, "v1") or not file.is_file():
            self.reply(404, b"", body, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        content = file.read_bytes()
        dropped = body and file.suffix == ".tar" and f"GET {self.path}" not in seen
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.reply(206 if start else 200, content[start:], body, headers, len(content) // 2 if dropped else None)

    def reply(self, status, content, body, headers=(), limit=None):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[:limit])
        self.close_connection = True


def read(tmp_path, mode, address):
    environment = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, mode, str(tmp_path / "cache")],
        cwd=Path(__file__).parents[3],
        env={
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "hub"),
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["indexed", pytest.param("stream", marks=pytest.mark.exhaustive)])
def test_the_hub(tmp_path, mode):
    for split, size in (("train", 20), ("test", 11)):
        write(tmp_path / "sets" / "wds_pets", split, size)
    samples = [[[number, number % 3] for number in range(size)] for size in (20, 11)]
    with served(tmp_path / "sets/wds_pets", Hub) as address:
        first = read(tmp_path, mode, address)
        assert first.returncode == 0, first.stderr[-3000:]
        assert json.loads(first.stdout) == samples
    requests = (tmp_path / "requests.txt").read_text().splitlines()
    assert sum("/revision/" in line for line in requests) == 1  # what v1 stands for is asked once
    kept = {path.name for path in (tmp_path / "hub").rglob("*.tar")}
    assert kept == (set() if mode == "stream" else {"0.tar", "1.tar", "2.tar"})
    if mode == "indexed":
        offline = read(tmp_path, mode, address)  # the server is gone
        assert json.loads(offline.stdout) == samples, offline.stderr[-3000:]
