"""Grouping of tar members into samples, and parsing of samples."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from tracer_lightning.data.images.files import FORMAT_OF, SUFFIXES, is_hidden, suffix_of
from tracer_lightning.data.shards.tar import TarBytes, TarMember, walk
from tracer_lightning.functional.wording import counted
from tracer_lightning.storage import decode_text

LABEL, CAPTION, METADATA = "cls", "txt", "json"
CAPTION_SUFFIXES = (CAPTION, METADATA)
"""Suffixes of members that may contain captions, in the order of precedence."""
CAPTION_KEY = "caption"
"""Key of a JSON member that contains the caption, or a list of captions, as img2dataset writes it."""
KNOWN = frozenset((*FORMAT_OF, LABEL, CAPTION, METADATA))
"""Suffixes of members that are read."""
LABEL_KEYS = ("label", "cls", "class", "class_id", "class_name", "label_name")
"""Keys of a JSON member that may contain the class, as a number or a name."""
MAX_LABEL, MAX_LABEL_LENGTH = 1 << 31, 300
"""Largest class index, and maximum number of characters of a class name."""
REASONS = ("without image", "without label or caption", "with an empty caption")
"""Why samples are left out."""
NO_IMAGE, NO_LABEL_OR_CAPTION, EMPTY_CAPTION = range(len(REASONS))
MAX_KINDS = 8
"""Maximum number of member types in a message."""
T = TypeVar("T")


class SampleParts(NamedTuple, Generic[T]):
    """Parts of a complete sample."""

    image: T
    label: int | str | None
    """Class index or class name; None where the sample has only a caption."""
    caption: T | None
    """Member with the captions; None where there is none."""
    caption_suffix: str = CAPTION
    """Suffix of that member."""


def key_and_suffix(name: str, is_key: Callable[[str], bool]) -> tuple[str, str]:
    """Split a member's name into the key of its sample and its suffix in lower case.

    The key ends at the first dot, as in the webdataset library. Where the rest is no known suffix, but the part after
    the last dot is one, the other dots belong to the key (``img.v2.000.png``), unless the shorter key belongs to an
    earlier sample (``s1.seg.png`` after ``s1.jpg``).

    Args:
        name: name of the member, with its folder.
        is_key: function that tells whether there is an earlier sample of this key.
    """
    folder, _, file_name = name.rpartition("/")
    prefix = f"{folder}/" if folder else ""
    stem, _, suffix = file_name.partition(".")
    if suffix.lower() not in KNOWN and suffix_of(file_name) in KNOWN and not is_key(prefix + stem):
        stem, _, suffix = file_name.rpartition(".")
    return prefix + stem, suffix.lower()


def _add(
    file: TarBytes, sample: dict[str, T], member: TarMember, suffix: str, take: Callable[[TarMember, str], T]
) -> None:
    if suffix in sample:
        raise ValueError(
            f"{file.name}: member {member.name!r} occurs twice, as in concatenated tar files; write the shard again"
        )
    sample[suffix] = take(member, suffix)


def stream_samples(file: TarBytes, take: Callable[[TarMember, str], T]) -> Iterator[tuple[str, dict[str, T]]]:
    """Yield key and members of every sample of a tar that is read sequentially.

    Args:
        file: bytes of the tar.
        take: function from a member and its suffix to the value to keep; it may read the member.

    Raises:
        ValueError: the members of a sample are not adjacent.
    """
    key, sample, done = "", dict[str, T](), set[str]()
    for member in walk(file):
        member_key, suffix = key_and_suffix(member.name, key.__eq__)
        if not suffix or is_hidden(member.name):
            continue
        if sample and member_key != key:
            yield key, sample
            done.add(key)
            sample = {}
        if member_key in done:
            raise ValueError(
                f"{file.name}: member {member.name!r} is not adjacent to the others of its sample, which streaming "
                "requires; read the shards by index, or sort the tar by name (tar --sort=name)"
            )
        _add(file, sample, member, suffix, take)
        key = member_key
    if sample:
        yield key, sample


def collect_samples(file: TarBytes, take: Callable[[TarMember, str], T]) -> dict[str, dict[str, T]]:
    """Return the members of every sample of a tar by key; unlike in a stream, they need not be adjacent."""
    samples: dict[str, dict[str, T]] = {}
    for member in walk(file):
        key, suffix = key_and_suffix(member.name, samples.__contains__)
        if suffix and not is_hidden(member.name):
            _add(file, samples.setdefault(key, {}), member, suffix, take)
    return samples


def parse_sample(tar: object, key: str, sample: Mapping[str, T], content: Callable[[T], bytes]) -> SampleParts[T] | int:
    """Return the parts of a sample, or the index in ``REASONS`` of the reason why it is left out.

    Args:
        tar: name of the tar, for messages.
        key: key of the sample, for messages.
        sample: members of the sample by suffix.
        content: function that reads a label, caption or JSON member.
    """
    image = next((sample[suffix] for suffix in SUFFIXES if suffix in sample), None)
    if image is None:
        return NO_IMAGE
    label = None
    if LABEL in sample:
        label = parse_label(tar, decode_text(content(sample[LABEL]), f"{tar}: {key}.{LABEL}"))
    elif METADATA in sample:
        label = _parse_json_label(tar, content(sample[METADATA]))
    # metadata beside a class describe images that get captions from templates
    for suffix in CAPTION_SUFFIXES if label is None else (CAPTION,):
        if suffix in sample and parse_captions(content(sample[suffix]), suffix, f"{tar}: {key}.{suffix}"):
            return SampleParts(image, label, sample[suffix], suffix)
    if label is None:
        return EMPTY_CAPTION if CAPTION in sample else NO_LABEL_OR_CAPTION
    return SampleParts(image, label, None)


def parse_captions(content: bytes, suffix: str, where: object) -> tuple[str, ...]:
    """Parse the captions in a member: one per line of a text, and the value ``caption`` of a JSON object.

    Args:
        content: the member's bytes.
        suffix: suffix of the member.
        where: name of the member, for messages.
    """
    if suffix == CAPTION:
        return captions_of(decode_text(content, where).split("\n"))
    return captions_of(_parse_object(content).get(CAPTION_KEY))


def captions_of(value: Any) -> tuple[str, ...]:
    r"""Return the captions in a value, a text or a list of texts, without blank ones and those with half a character.

    JSON may contain half of a character beyond 16 bits, as in ``"\ud83d"``, where a text was cut within an emoji.
    """
    texts = value if isinstance(value, list) else [value]
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip() and _is_unicode(text))


def _is_unicode(text: str) -> bool:
    """Whether a text has whole characters only, so that it can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_label(tar: object, text: str) -> int | str | None:
    """Parse the class in a ``.cls`` member, an index, a name or JSON; None where it is empty or -1."""
    label = text.strip()
    if label.startswith(("{", '"')):
        return _parse_json_label(tar, label)
    if label in ("", "-1"):
        return None
    is_number = re.fullmatch(r"[+-]?[0-9]+", label)
    if len(label) > MAX_LABEL_LENGTH or (is_number and abs(int(label)) > MAX_LABEL):
        raise ValueError(f"{tar} has the label {label[:40]}, which is no class")
    return int(label) if is_number else label


def _parse_json_label(tar: object, text: str | bytes) -> int | str | None:
    """Parse the class in a JSON text; None where it has none or is invalid."""
    metadata = _parse_json(text)
    values = [metadata.get(key) for key in LABEL_KEYS] if isinstance(metadata, dict) else [metadata]
    for value in values:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return parse_label(tar, str(value).lstrip('{" '))
    return None


def _parse_json(text: str | bytes) -> Any:
    """Parse JSON; None where it is invalid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object; an empty one where it is invalid or another value."""
    value = _parse_json(text)
    return value if isinstance(value, dict) else {}


def describe_left_out(counts: Sequence[int]) -> str:
    """Describe how many samples are left out, by reason; empty for none."""
    parts = [f"{count:,} {reason}" for count, reason in zip(counts, REASONS, strict=True) if count]
    return f"{counted(sum(counts), 'sample is', 'samples are')} left out: {', '.join(parts)}" if parts else ""


def describe_members(file: TarBytes) -> str:
    """Describe the members of a tar without samples, and the format of a sample."""
    kinds = Counter(f".{suffix_of(member.name)}" for member in walk(file) if not is_hidden(member.name))
    members = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(MAX_KINDS)) or "nothing"
    return (
        f"its members are {members}; a sample is NAME.jpg (or {', '.join(SUFFIXES[1:])}) with its class in "
        f"NAME.{LABEL} or NAME.{METADATA}, or a caption in NAME.{CAPTION}"
    )
