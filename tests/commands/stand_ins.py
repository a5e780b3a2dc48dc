"""Small sets of shards, in the folders that the configurations name."""

import functools
import json

from tests.images import encode, grey_pixels, random_pixels, write_image
from tracer_lightning.data.shards.packing import SourceSample
from tracer_lightning.data.shards.writer import SampleCollection, write_shards
from tracer_lightning.storage.shard_layout import ShardLayout

IMAGENET = {
    "wds_imagenet1k": (("train", "test"), 1000),
    "wds_imagenetv2": (("test",), 1000),
    "wds_imagenet-r": (("test",), 200),
    "wds_imagenet-a": (("test",), 200),
    "wds_imagenet_sketch": (("test",), 1000),
    "wds_objectnet": (("test",), 113),
}
IWILDCAM = {
    "iwildcam_train": (("train",), 4),
    "iwildcam_id_val": (("val",), 4),
    "iwildcam_id_test": (("test",), 4),
    "iwildcam_ood_test": (("test",), 4),
}
CIFAR10 = {
    "wds_cifar10": (("train", "val", "test"), 10),
    "wds_cifar10_c_noise": (("test",), 10),
    "wds_tiny_imagenet": (("train", "test"), 4),
}
PACS = {f"pacs_{domain}": (("train", "test"), 7) for domain in ("photo", "sketch", "art_painting")}


def random_jpeg(seed):
    return encode(random_pixels(seed=seed), "JPEG")


def write(root, sets, samples=12):
    for folder, (splits, classes) in sets.items():
        items = [SourceSample(functools.partial(random_jpeg, n), f"{n}", "jpg", n % classes) for n in range(samples)]
        names = [f"name {number}" for number in range(classes)]
        for split in splits:
            write_shards(
                SampleCollection(items, names), root / folder, split, ["a photo of a {c}."], ShardLayout(max_samples=5)
            )


UNCOUNTED = {
    "imagenet": ["data.train.samples=null"]
    + [
        f"suite.{name}.samples=null"
        for name in ("imagenet", "imagenet-v2", "imagenet-r", "imagenet-a", "imagenet-sketch", "objectnet")
    ],
    "iwildcam": ["data.train.samples=null"]
    + [f"suite.{name}.samples=null" for name in ("id_val", "id_test", "ood_test")],
}
"""What lets the stand-ins be smaller than the real sets."""


def one_template():
    return ["a photo of a {c}."]


def two_templates():
    return ["a photo of a {c}.", "art of the {c}."]


def few_classes():
    return [f"name {number}" for number in range(10)]


def write_video(folder):
    """Two videos in the layout of ImageNet-Vid-Robust: three frames of a fish, the last with a cat, and two of a cat.

    Frame i is of grey level 20 (i + 1); the anchors are frames 1 and 3.
    """
    frames = [f"val/{video}/{number}.JPEG" for number, video in enumerate("aaabb")]
    for number, frame in enumerate(frames):
        write_image(folder / frame, grey_pixels(20 * (number + 1)))
    files = {
        "metadata/labels": dict(zip(frames, ([0], [0], [0, 1], [1], [1]), strict=True)),
        "metadata/pmsets": {frames[1]: [frames[0], frames[2]], frames[3]: [frames[4]]},
        "misc/imagenet_vid_class_index": {"0": ["n02512053", "fish"], "1": ["n02121808", "domestic_cat"]},
        "misc/rev_wnid_map": {"n02512053": ["n01440764", "n01443537"], "n02121808": ["n02123045"]},
    }
    for name, content in files.items():
        (folder / f"{name}.json").parent.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(content))
