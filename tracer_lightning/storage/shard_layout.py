"""How samples are distributed over shards."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ShardLayout:
    """Order of samples and limits of shards; raises ValueError for limits below 1."""

    seed: int = 0  # seed of the shuffled order over all shards
    max_samples: int = 1000  # per shard
    max_bytes: int = 200_000_000  # per tar file; a larger sample has its own shard

    def __post_init__(self) -> None:
        for name in ("max_samples", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
