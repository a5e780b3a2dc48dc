"""Samples that an evaluation has read, and those that it could not read."""

from __future__ import annotations

import lightning.pytorch as pl
import torch.distributed as dist

from tracer_lightning.data import DataModule
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.functional.wording import counted
from tracer_lightning.scores import Scores


def runs_all_test_batches(trainer: pl.Trainer) -> bool:
    """Whether a trainer runs all batches of the test sets: 1.0 is all of them, and 1 is one."""
    limit = trainer.limit_test_batches
    return isinstance(limit, float) and limit == 1.0


def check_sample_counts(scores: Scores, data: DataModule) -> None:
    """Raise ValueError unless all readable samples of every test set were evaluated.

    A stream of shards does not know its number of samples before it is read.
    """
    unread = len(unreadable_samples(data)) + data.incomplete
    for eval_set in data.eval_sets:
        actual, expected = scores[eval_set.name]["n"], eval_set.samples
        if expected is not None and not expected - unread <= actual <= expected:
            raise ValueError(
                f"set {eval_set.name}: {counted(actual, 'sample was', 'samples were')} read, but {expected:,} are "
                "expected"
            )


def unreadable_samples(data: DataModule) -> list[str]:
    """Locations of the images that any process could not read. A collective operation: all processes must call it."""
    by_rank: list[set[str]] = [data.unreadable]
    if dist.is_available() and dist.is_initialized():
        by_rank = [set()] * dist.get_world_size()
        dist.all_gather_object(by_rank, data.unreadable)
    return sorted(set().union(*by_rank))


def print_unreadable_samples(locations: list[str]) -> None:
    """Print how many images could not be read, if any."""
    if locations:
        number = counted(len(locations), "image:", "images, among them")
        print_rank_zero(f"could not be read: {number} {locations[0]}")


def print_unscored_sets(scores: Scores) -> None:
    """Print the names of the test sets that have no scores."""
    for name, values in scores.items():
        if values.get("n") == 0:
            print_rank_zero(f"{name}: none of its images could be read, so that it has no scores and is in no mean")


def print_samples_in_memory(data: DataModule) -> None:
    """Print which samples are kept in memory, if any, and how much they take."""
    if line := data.about_memory():
        print_rank_zero(line)


def print_validation_split(data: DataModule) -> None:
    """Print which images are used for validation, where a user might not expect it."""
    if line := data.about_validation():
        print_rank_zero(line)
