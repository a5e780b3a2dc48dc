"""Texts of sets of shards with classes of their own."""

from __future__ import annotations

from tracer_lightning.data.images.names import check_classnames, check_order, check_templates
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.manifest import CLASSNAMES, TEMPLATES
from tracer_lightning.data.shards.store import ShardStore, SuiteEntry
from tracer_lightning.types import ClassTexts


def read_lines(store: ShardStore, folder: str, name: str) -> list[str] | None:
    """Read the lines of a text file in a folder; None where it does not exist."""
    try:
        return store.lines(folder, name)
    except FileNotFoundError:
        return None


def read_own_texts(store: ShardStore, key: str, entry: SuiteEntry) -> ClassTexts:
    """Class names and templates of a set of role ``other``, from its entry or the files in its folder.

    Args:
        store: folders of shards.
        key: name of the argument, for messages.
        entry: the set.

    Raises:
        ValueError: neither has them, or they have different numbers of names.
    """
    folder, texts = entry.location.folder, []
    address = store.root(folder).address
    for field, file, check, values in (
        ("classnames", CLASSNAMES, check_classnames, entry.classnames),
        ("templates", TEMPLATES, check_templates, entry.templates),
    ):
        in_folder = read_lines(store, folder, file)
        lines = values or in_folder
        if not lines:
            raise ValueError(
                f"{key}.{field} is not set, and {address} has no {file}; a set of role other needs {field} of its own, "
                "so set them or write the file"
            )
        if file == CLASSNAMES and in_folder:
            if len(lines) != len(in_folder):
                raise ValueError(f"{key}.{field} has {len(lines)} names, and {address}/{file} has {len(in_folder)}")
            check_order(f"{key}.{field}", lines, in_folder, f"{address}/{file}")
        check(lines, f"{address}/{file}")
        texts.append(tuple(lines))
    return ClassTexts(*texts)


def own_labels(store: ShardStore, folder: str, texts: ClassTexts) -> ClassLabels:
    """Labels of a set of role ``other``; those that are names are looked up in the folder's own class names."""
    return ClassLabels(len(texts.classnames), read_lines(store, folder, CLASSNAMES) or texts.classnames)
