"""Parts of image-text-to-text models, by the names of their parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

IMAGE, CONNECTOR, TEXT, HEAD = "image", "connector", "text", "head"
PARTS = (IMAGE, CONNECTOR, TEXT, HEAD)
PIECES: Mapping[str, Sequence[str]] = {
    IMAGE: ("vision_tower", "visual", "vision_model"),
    CONNECTOR: ("multi_modal_projector", "connector", "merger", "deepstack_merger_list"),
}
"""Components of parameter names that belong to a part, in ``transformers`` 5."""


def find_part(name: str, pieces: Mapping[str, Sequence[str]]) -> str:
    """Return the part of a parameter: its connector, even inside the image tower, its image tower, or its text model.

    Args:
        name: name of the parameter.
        pieces: components of names by part, ``image`` and ``connector``.
    """
    components = set(name.split("."))
    for part in (CONNECTOR, IMAGE):
        if components & set(pieces.get(part, ())):
            return part
    return TEXT


def check_parts(names: Collection[str], parts: Mapping[str, Sequence[str]] | None) -> Mapping[str, Sequence[str]]:
    """Return the components of names by part.

    Args:
        names: names of a model's parameters.
        parts: components of names by part, ``image`` and ``connector``; None for those of known models.

    Raises:
        ValueError: ``parts`` has other keys, or no parameter belongs to the image tower.
    """
    if parts is not None and not {*parts} <= {*PIECES}:
        raise ValueError(f"parts must have the keys {' and '.join(PIECES)}, got {', '.join(parts)}")
    pieces = PIECES if parts is None else parts
    if not any(find_part(name, pieces) == IMAGE for name in names):
        examples = ", ".join(sorted({name.split(".")[-2] if "." in name else name for name in names})[:5])
        raise ValueError(
            f"parts={None if parts is None else dict(parts)}: no parameter belongs to an image tower; give parts, such "
            "as {image: [vision_tower], connector: [projector]}, with components of the parameters' names "
            f"({examples})"
        )
    return pieces
