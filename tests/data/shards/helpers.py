"""Small sets of shards, and data modules over them."""

import contextlib
import functools
import http.server
import io
import tarfile
import threading
from pathlib import Path

from tests.conftest import tiny_backbone
from tests.images import grey_png
from tracer_lightning.data import ShardDataModule, StreamedShardDataModule
from tracer_lightning.data.shards.packing import SourceSample
from tracer_lightning.data.shards.writer import SampleCollection, write_shards
from tracer_lightning.storage.shard_layout import ShardLayout

CLASSES = ["cat", "dog", "owl"]
SHARED = Path(__file__).parents[4] / "shared" / "data"
TEXTS = {"classnames": None, "templates": None, "train_templates": None}


def item(number, caption=None):
    return SourceSample(functools.partial(grey_png, number % 200), f"image {number}", "png", number % 3, caption)


def write(root, split, size, per_shard=8, classes=CLASSES, caption=None):
    """Sample i is of grey level i and class i mod 3."""
    items = [item(number, caption and caption.format(number)) for number in range(size)]
    if not classes:
        items = [entry._replace(label=None) for entry in items]
    return write_shards(SampleCollection(items, classes), root, split, ["a {c}."], ShardLayout(max_samples=per_shard))


def shards(root, stream=False, streams=2, buffer=12, cache=False, **options):
    """A data module that trains on ``photo`` and tests on ``photo`` and ``sketch``."""
    suite = {
        "photo": {"folder": "photo", "split": "test", "role": "id"},
        "sketch": {"folder": "sketch", "split": "test", "role": "ood"},
    }
    defaults = {"train": {"folder": "photo", "split": "train"}, "suite": suite, "texts": TEXTS}
    defaults |= {"eval_decoder": "torchvision"} | (
        {} if "://" in str(root) else {"cache_dir": f"{Path(root).parent}/cache"}
    )
    defaults |= {"augmentation": {"crop_scale": [0.9, 1.0], "flip": 0.5}}
    defaults |= {"batch_size": 10, "eval_batch_size": 8, "num_workers": 0, "seed": 0, "max_bad_fraction": 0.001}
    if stream:
        streaming = {"streams": streams, "shuffle_buffer": buffer, "cache": cache}
        return StreamedShardDataModule(spec=tiny_backbone().spec, root=str(root), **(defaults | streaming | options))
    return ShardDataModule(tiny_backbone().spec, str(root), **(defaults | options))


def seen(batches):
    """(grey level, class) of every sample that counts."""
    pairs = [
        (round(image.float().mean().item()), label)
        for batch in batches
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True)
        if label >= 0
    ]
    return sorted(pairs)


@contextlib.contextmanager
def served(folder, handler=http.server.SimpleHTTPRequestHandler):
    """The address of a local server that stands in for the web."""

    class Quiet(handler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def rewrite(path, keep=lambda name, content: (name, content)):
    """Write a tar again with other members; None leaves one out, a list gives several for one."""
    with tarfile.open(path) as archive:
        members = [(member.name, archive.extractfile(member).read()) for member in archive]
    with tarfile.open(path, "w") as archive:
        for kept in (keep(*member) for member in members):
            for name, content in kept if isinstance(kept, list) else [kept] if kept else []:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
