"""Metrics of retrieval of one model on one set of images with captions."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tracer_lightning.evaluation.collected import Collected
from tracer_lightning.functional.distributed import gather
from tracer_lightning.functional.retrieval import match_ranks, match_scores
from tracer_lightning.scores import RECALL
from tracer_lightning.types import IGNORE_INDEX, CaptionTokens

CUTOFFS = (1, 5, 10)
"""Numbers of retrieved candidates k of recall@k."""
DIRECTIONS = {"i2t": "image-to-text", "t2i": "text-to-image"}
"""Titles of the directions of retrieval, from images to captions and from captions to images, by their short names."""
CHUNK = 256
"""Number of captions that are encoded at once, whatever the number of ranks."""
WORST = 8
"""Number of worst pairs of each direction in the details."""
STEPS = (1, 2, 5)
"""Leading digits of the largest ranks of the bins of histograms."""


def recall_name(direction: str, cutoff: int) -> str:
    """Name of recall@k of a direction."""
    return f"{direction}_recall_at_{cutoff}"


def median_name(direction: str) -> str:
    """Name of the median rank of a direction."""
    return f"{direction}_median_rank"


class ImageFeatures(Collected):
    """All features (N, D) of the images of a set, and their positions (N,), gathered over ranks, without padding."""

    def __init__(self) -> None:
        super().__init__("features", "positions")

    def update(self, features: Tensor, positions: Tensor) -> None:
        """Take in features (B, D) and positions (B,), -1 for padding."""
        self.append(features=features, positions=positions)

    def ordered(self) -> tuple[Tensor, Tensor]:
        """Features (N, D) in the order of positions, and these (N,)."""
        features, positions = self.gathered().values()
        order = positions.argsort()
        order = order[positions[order] != IGNORE_INDEX]
        return features[order], positions[order]


class _Ranks(NamedTuple):
    """Ranks of the matches of one direction."""

    ranks: Tensor
    """(Q,) ranks, from 1."""
    candidates: int
    """Number of candidates."""


class RetrievalMetrics(nn.Module):
    """Recall@k and median rank from images to captions and back, exact over ranks.

    Recall@k is the share of queries with a match among the k best candidates. An image matches all its captions, and
    the rank of its best one counts (Karpathy and Fei-Fei, 2015). This equals the metric of CLIP_benchmark.

    Images that could not be read are left out with their captions.

    Args:
        captions: captions of the set.
    """

    tokens: Tensor
    owners: Tensor

    def __init__(self, captions: CaptionTokens) -> None:
        super().__init__()
        self.register_buffer("tokens", captions.tokens, persistent=False)
        self.register_buffer("owners", torch.tensor(captions.owners), persistent=False)
        self.images = ImageFeatures()
        self.texts: Tensor | None = None
        """(T, D) features of the captions."""

    @torch.no_grad()
    def start(self, model: Any) -> None:
        """Forget everything, and encode the captions; ranks share the work, and all must call this."""
        self.images.reset()
        self.texts = encode_texts(model, self.tokens)

    def update(self, features: Tensor, positions: Tensor) -> None:
        """Take in features (B, D) of images and their positions (B,), -1 for padding."""
        self.images.update(features, positions)

    @torch.no_grad()
    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Scores, and the details behind them.

        Scores are the number ``n`` of images, recalls in [0, 1] and median ranks, None where there are no images.
        Details are ``ranks``, the counts of a histogram by direction, and ``worst``, the worst pairs by direction.
        """
        assert self.texts is not None
        images, positions = self.images.ordered()
        with torch.autocast(images.device.type, enabled=False):
            return self._compute(images, self.texts, positions)

    def _compute(self, images: Tensor, all_texts: Tensor, positions: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        names = [RECALL, *(name for direction in DIRECTIONS for name in score_names(direction))]
        if not len(positions):
            return {"n": 0, **dict.fromkeys(names)}, {}
        kept = torch.isin(self.owners, positions)
        owners = torch.searchsorted(positions, self.owners[kept])  # (T',) rows of ``images``
        texts = all_texts[kept].to(images.dtype)
        count = torch.bincount(owners, minlength=len(images))
        image_to_text = _Ranks(match_ranks(images, texts, count.cumsum(0) - count, count), len(texts))
        text_to_image = _Ranks(match_ranks(texts, images, owners, torch.ones_like(owners)), len(images))
        directions = dict(zip(DIRECTIONS, (image_to_text, text_to_image), strict=True))
        scores: dict[str, Any] = {}
        for direction, (ranks, _) in directions.items():
            shares = [(ranks <= cutoff).double().mean().item() for cutoff in CUTOFFS]
            median = ranks.double().quantile(0.5).item()
            scores |= dict(zip(score_names(direction), (*shares, median), strict=True))
        mean = sum(scores[recall_name(direction, 1)] for direction in DIRECTIONS) / len(DIRECTIONS)
        numbers = torch.arange(len(self.owners), device=kept.device)[kept]
        return {"n": len(images), RECALL: mean, **scores}, {
            "ranks": {name: histogram(ranks, candidates) for name, (ranks, candidates) in directions.items()},
            "worst": {
                "i2t": _worst(image_to_text.ranks, images, texts, positions, numbers),
                "t2i": _worst(text_to_image.ranks, texts, images, numbers, positions),
            },
        }


def score_names(direction: str) -> list[str]:
    """Names of the scores of a direction: recalls by increasing k, and the median rank."""
    return [*(recall_name(direction, cutoff) for cutoff in CUTOFFS), median_name(direction)]


def encode_texts(model: Any, tokens: Tensor) -> Tensor:
    """Features (T, D) of captions (T, L), encoded in chunks that ranks share; all ranks must call this.

    Chunks are the same for any number of ranks, and so are the features.
    """
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    rank = torch.distributed.get_rank() if world > 1 else 0
    chunks = -(-len(tokens) // (CHUNK * world)) * world
    padding = tokens[:1].expand(chunks * CHUNK - len(tokens), -1)
    shares = torch.cat([tokens, padding]).reshape(-1, world, CHUNK, tokens.shape[1])
    features = torch.stack([model.encode_text(chunk) for chunk in shares[:, rank]])  # (chunks / world, CHUNK, D)
    gathered = gather(features).reshape(world, len(features), CHUNK, -1)
    return gathered.transpose(0, 1).flatten(0, 2)[: len(tokens)]


def histogram(ranks: Tensor, candidates: int) -> dict[str, list[int]]:
    """Numbers ``n`` of ranks (Q,) up to each of the ``upper`` ranks 1, 2, 5, 10, ..., and the number of candidates."""
    upper = [step * 10**power for power in range(len(str(candidates))) for step in STEPS]
    upper = [*(edge for edge in upper if edge < candidates), candidates]
    bins = torch.bucketize(ranks, torch.tensor(upper, device=ranks.device))
    return {"upper": upper, "n": torch.bincount(bins, minlength=len(upper)).tolist()}


def _worst(ranks: Tensor, queries: Tensor, candidates: Tensor, numbers: Tensor, others: Tensor) -> list[list[int]]:
    """Queries with the largest ranks: number, rank, and number of the best candidate.

    Args:
        ranks: (Q,) ranks.
        queries: (Q, D) features.
        candidates: (C, D) features.
        numbers: (Q,) numbers of the queries in their set.
        others: (C,) numbers of the candidates in their set.
    """
    worst = ranks.argsort(descending=True, stable=True)[:WORST]
    best = match_scores(queries[worst], candidates).argmax(dim=1)
    return torch.stack([numbers[worst], ranks[worst], others[best]], dim=1).tolist()
