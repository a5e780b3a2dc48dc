"""Recognition of files that hold no weights by their first bytes, with advice on what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

FIRST_BYTES = 4096
"""Number of leading bytes from which a file is recognised."""
DOWNLOAD_AGAIN = "download or copy it again"
UNPACK = "unpack it, and name the file of weights within"
TO_SAFETENSORS = "load it where it was made, and write its weights as safetensors or with torch.save"
MANY_FILES = (
    "the index of weights in several files; write them as one where they were made: "
    "model.save_pretrained(OUT, max_shard_size='100GB')"
)
TORCH_SCRIPT = (
    "TorchScript, which is executable code, as in OpenAI's original files; use the copy on the Hugging Face hub or "
    "(if you trust it) write only its weights: torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), OUT)"
)
_TRUSTED = (
    "where you trust it and have its code, write its weights alone: x = {}; torch.save(x.state_dict(), OUT), or of a "
    "dictionary x['state_dict']"
)
TRUSTED = _TRUSTED.format("torch.load(FILE, map_location='cpu', weights_only=False)")
TRUSTED_PICKLE = _TRUSTED.format("pickle.load(open(FILE, 'rb'))")
KINDS = {
    rb"version https://git-lfs": "a Git LFS pointer instead of the file; run git lfs pull in the clone",
    rb"(\.\./)*/?(\.git/)?annex/objects/": "a git-annex pointer instead of the file; run git annex get in the clone",
    rb"(?i)\s*(<!--.*?-->\s*)?<(!doctype html|html|head|body)": (
        "a web page, such as a login or an error; download the file itself, whose address on the Hugging Face hub has "
        "/resolve/ and not /blob/"
    ),
    rb"\s*<[?!a-zA-Z]": f"XML, such as the error of a server; {DOWNLOAD_AGAIN}",
    rb'\s*\{.*"weight_map"': MANY_FILES,
    rb'\s*(\{\s*["}]|\[\s*["{\[\]\d])': (
        f"JSON, such as a configuration or the error of a server; name the weights beside it, or {DOWNLOAD_AGAIN}"
    ),
    rb"\x1f\x8b": f"compressed with gzip; {UNPACK}",
    rb"BZh\d": f"compressed with bzip2; {UNPACK}",
    rb"\xfd7zXZ\0": f"compressed with xz; {UNPACK}",
    rb"\x28\xb5\x2f\xfd": f"compressed with Zstandard; {UNPACK}",
    rb"7z\xbc\xaf\x27\x1c|Rar!\x1a": f"an archive of 7-Zip or RAR; {UNPACK}",
    rb".{257}ustar": f"a tar archive; {UNPACK}",
    rb"\x89HDF\r\n": f"HDF5, as Keras and TensorFlow write it; {TO_SAFETENSORS}",
    rb"GGUF": f"GGUF, as llama.cpp takes it; {TO_SAFETENSORS}",
    rb"\x93NUMPY": f"a NumPy array; {TO_SAFETENSORS}",
    rb".{4}TFL3": f"TensorFlow Lite; {TO_SAFETENSORS}",
    rb"\x08\x01\x12": f"TensorFlow's SavedModel; {TO_SAFETENSORS}",
    rb"\x08[\x02-\x20][\x12\x1a\x22\x3a\x42]": f"ONNX; {TO_SAFETENSORS}",
    rb"([\x81-\x8f]|\xde..|\xdf.{4})[\xa0-\xbf\xd9]": f"msgpack, as Flax writes it; {TO_SAFETENSORS}",
    rb"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.*?\x80\x02(\(X\x06\0\0\0module|c(?!collections\n))": (
        f"a pickled model in the format before torch 1.6, which is not executed; {TRUSTED}"
    ),
    rb"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19": (
        "not what torch.save writes since torch 1.6; load older files there, and save them again: "
        "torch.save(torch.load(FILE, map_location='cpu', weights_only=True), OUT)"
    ),
    rb"\x80[\x02-\x05]": f"a bare pickle, which is not executed; {TRUSTED_PICKLE}",
    rb"PK\x05\x06": f"an archive without members; {DOWNLOAD_AGAIN}",
    rb"\0+\Z": f"nothing but zeros, as an interrupted download leaves them; {DOWNLOAD_AGAIN}",
}
"""Description and advice by pattern of the first bytes; the first match counts."""
TEXT = re.compile(r"[\w\s!-~]+")
"""Pattern of human-readable text."""


def describe_file(first: bytes) -> str | None:
    """Describe a file that is neither a torch archive nor safetensors, with advice; None where it is unknown.

    Args:
        first: up to :data:`FIRST_BYTES` leading bytes of the file.
    """
    if not first:
        return f"an empty file; {DOWNLOAD_AGAIN}"
    first = first.removeprefix(b"\xef\xbb\xbf")
    for pattern, description in KINDS.items():
        if re.match(pattern, first, re.DOTALL):
            return description
    beginning = first[:60].decode("utf-8", errors="replace").strip()
    if TEXT.fullmatch(beginning):
        return f"a text that begins with {beginning[:40]!r}; {DOWNLOAD_AGAIN}"
    return None


def describe_archive(names: Sequence[bytes]) -> str | None:
    """Describe a zip archive that holds no torch weights, with advice; None where it may hold them.

    Args:
        names: names of the archive's members.
    """
    if not names:
        return f"an archive without members; {DOWNLOAD_AGAIN}"
    if any(re.search(rb"(^|/)(constants\.pkl$|code/)", name) for name in names):
        return TORCH_SCRIPT
    if any(name.lower().endswith(b"data.pkl") for name in names):
        return None
    if all(name.endswith(b".npy") for name in names):
        return f"NumPy arrays (.npz), as JAX and TensorFlow models are published; {TO_SAFETENSORS}"
    return f"a zip of other files, such as {names[0][:60].decode('utf-8', errors='replace')!r}; {UNPACK}"
