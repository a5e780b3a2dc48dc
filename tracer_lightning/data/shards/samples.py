"""Which members of a tar make a sample, and what a sample needs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from tracer_lightning.data.images.files import FORMAT_OF, SUFFIXES, hidden, suffix_of
from tracer_lightning.data.shards.tar import Member, TarBytes, walk
from tracer_lightning.storage import decode_text

LABEL, CAPTION, FACTS = "cls", "txt", "json"
KNOWN = frozenset((*FORMAT_OF, LABEL, CAPTION, FACTS))
"""Suffixes of members that are looked at."""
LABEL_KEYS = ("label", "cls", "class", "class_id", "class_name", "label_name")
"""Where a json member may have the class: as a number or as a name."""
LARGEST_LABEL, LONGEST_LABEL = 1 << 31, 300
"""The largest number, and the most characters, that may stand for a class."""
REASONS = ("without image", "without label or caption", "with an empty caption")
"""Why samples are left out."""
NO_IMAGE, NO_LABEL_OR_CAPTION, EMPTY_CAPTION = range(len(REASONS))
SHOWN = 8
"""Kinds of members that a message names."""
T = TypeVar("T")


class Parts(NamedTuple, Generic[T]):
    """A sample that has what it needs."""

    image: T
    label: int | str | None
    """The number of its class or, as text, the name; None where it has a caption only."""
    caption: T | None


def key_and_suffix(name: str, is_key: Callable[[str], bool]) -> tuple[str, str]:
    """What members of one sample share, and what is left of the name, in lower case.

    They share all up to the first dot, as the webdataset library has it. Where that leaves no known suffix and the last
    dot does, the dots before it are part of the sample's own name (``img.v2.000.png``), unless it belongs to a sample
    that was seen (``s1.seg.png`` after ``s1.jpg``).

    Args:
        name: of the member, with its folder.
        is_key: whether a sample of this name was seen.
    """
    folder, _, last = name.rpartition("/")
    before = f"{folder}/" if folder else ""
    stem, _, suffix = last.partition(".")
    if suffix.lower() not in KNOWN and suffix_of(last) in KNOWN and not is_key(before + stem):
        stem, _, suffix = last.rpartition(".")
    return before + stem, suffix.lower()


def _add(file: TarBytes, sample: dict[str, T], member: Member, suffix: str, take: Callable[[Member, str], T]) -> None:
    if suffix in sample:
        raise ValueError(
            f"{file.name}: member {member.name!r} occurs twice (are these two tars in one?); write the shard again"
        )
    sample[suffix] = take(member, suffix)


def neighbours(file: TarBytes, take: Callable[[Member, str], T]) -> Iterator[tuple[str, dict[str, T]]]:
    """Name and parts of every sample of a tar that is read as it comes.

    Args:
        file: the tar.
        take: what to keep of a member, which may read it, given its suffix.

    Raises:
        ValueError: members of a sample do not follow one another.
    """
    key, sample, done = "", dict[str, T](), set[str]()
    for member in walk(file):
        own, suffix = key_and_suffix(member.name, key.__eq__)
        if not suffix or hidden(member.name):
            continue
        if sample and own != key:
            yield key, sample
            done.add(key)
            sample = {}
        if own in done:
            raise ValueError(
                f"{file.name}: member {member.name!r} is apart from the others of its sample, and a stream needs them "
                "next to one another; read it with data/reader=indexed, or sort it by name (tar --sort=name)"
            )
        _add(file, sample, member, suffix, take)
        key = own
    if sample:
        yield key, sample


def gathered(file: TarBytes, take: Callable[[Member, str], T]) -> dict[str, dict[str, T]]:
    """As :func:`neighbours`, of a tar whose headers are all read first: members of a sample may lie anywhere."""
    found: dict[str, dict[str, T]] = {}
    for member in walk(file):
        key, suffix = key_and_suffix(member.name, found.__contains__)
        if suffix and not hidden(member.name):
            _add(file, found.setdefault(key, {}), member, suffix, take)
    return found


def parts_of(tar: object, key: str, sample: Mapping[str, T], content: Callable[[T], bytes]) -> Parts[T] | int:
    """What is used of a sample, or the number of the reason why it is left out.

    Args:
        tar: for messages.
        key: name of the sample, likewise.
        sample: its members, by suffix.
        content: reads a label, caption or json.
    """
    image = next((sample[suffix] for suffix in SUFFIXES if suffix in sample), None)
    if image is None:
        return NO_IMAGE
    label = None
    if LABEL in sample:
        label = label_of(tar, decode_text(content(sample[LABEL]), f"{tar}: {key}.{LABEL}"))
    elif FACTS in sample:
        label = _label_in_facts(tar, content(sample[FACTS]))
    caption = sample.get(CAPTION)
    if caption is not None and not decode_text(content(caption), f"{tar}: {key}.{CAPTION}").strip():
        caption = None
    if label is None and caption is None:
        return EMPTY_CAPTION if CAPTION in sample else NO_LABEL_OR_CAPTION
    return Parts(image, label, caption)


def label_of(tar: object, text: str) -> int | str | None:
    """The class in a ``.cls`` member, as a number or as text, which may be json; None where it is empty or -1."""
    written = text.strip()
    if written.startswith(("{", '"')):
        return _label_in_facts(tar, written)
    number = re.fullmatch(r"[+-]?[0-9]+", written)
    if len(written) > LONGEST_LABEL or (number and abs(int(written)) > LARGEST_LABEL):
        raise ValueError(f"{tar} has the label {written[:40]}, which is no class")
    return (int(written) if number else written) if written not in ("", "-1") else None


def _label_in_facts(tar: object, text: str | bytes) -> int | str | None:
    """The class in a json text; None where it has none, or is none."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return None
    values = [facts.get(key) for key in LABEL_KEYS] if isinstance(facts, dict) else [facts]
    for value in values:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return label_of(tar, str(value).lstrip('{" '))
    return None


def left_out(counts: Sequence[int]) -> str:
    """How many samples are left out, by reason; empty for none."""
    parts = [f"{count:,} {reason}" for count, reason in zip(counts, REASONS, strict=True) if count]
    return f"{sum(counts):,} samples are left out: {', '.join(parts)}" if parts else ""


def described(file: TarBytes) -> str:
    """What a tar without any sample holds, and what a sample is."""
    kinds = Counter(f".{suffix_of(member.name)}" for member in walk(file) if not hidden(member.name))
    what = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(SHOWN)) or "nothing"
    return (
        f"its members are {what}; a sample is NAME.jpg (or {', '.join(SUFFIXES[1:])}) with its class in NAME.{LABEL} "
        f"or NAME.{FACTS}, or a caption in NAME.{CAPTION}"
    )
