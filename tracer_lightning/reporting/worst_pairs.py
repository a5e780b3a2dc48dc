"""Images and captions whose match a model finds last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from tracer_lightning.reporting.changed import Pixels, enlarge


class WorstPair(NamedTuple):
    """A query whose match has a large rank, and what the model finds first instead."""

    direction: str
    """``i2t`` for an image that is searched for among captions, ``t2i`` for a caption."""
    rank: int
    """Rank of the best match."""
    image: Pixels
    """The query, or the image that the caption describes."""
    captions: tuple[str, ...]
    """Captions of the image, or the caption that is the query."""
    retrieved_caption: str = ""
    """Caption that is found first; empty for captions."""
    retrieved_image: Pixels | None = None
    """Image that is found first; None for images."""


def collect_worst(
    worst: Mapping[str, Sequence[Sequence[int]]],
    captions: Sequence[Sequence[str]],
    read_image: Callable[[int], Tensor],
    limit: int,
) -> list[WorstPair]:
    """Collect images and texts of the worst pairs of a data set.

    Args:
        worst: for each direction, number of the query, its rank, and number of the candidate that is found first, as in
            the details of :class:`tracer_lightning.evaluation.retrieval_metrics.RetrievalMetrics`.
        captions: captions of each image.
        read_image: function from the number of an image to (3, H, W) uint8.
        limit: maximum number of pairs of each direction; those whose match is found first are left out.
    """
    texts = [(image, caption) for image, of_image in enumerate(captions) for caption in of_image]

    def pixels(number: int) -> Any:
        return enlarge(read_image(number).permute(1, 2, 0).numpy())

    pairs = [
        WorstPair("i2t", rank, pixels(image), tuple(captions[image]), texts[retrieved][1])
        for image, rank, retrieved in worst["i2t"][:limit]
        if rank > 1
    ]
    for number, rank, retrieved in worst["t2i"][:limit]:
        image, caption = texts[number]
        if rank > 1:
            pairs.append(WorstPair("t2i", rank, pixels(image), (caption,), retrieved_image=pixels(retrieved)))
    return pairs
