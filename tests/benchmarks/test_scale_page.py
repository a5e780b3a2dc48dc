"""The tables of docs/scale.md are computed by ``tracer_lightning.benchmarks.cost``."""

from pathlib import Path

import open_clip
import pytest

from tracer_lightning.benchmarks.cost import (
    H100S,
    TRACER_PRODUCTS,
    memory,
    similarity_flops,
    step_flops,
    traffic,
)
from tracer_lightning.benchmarks.sizes import clip_sizes

PAGE = (Path(__file__).parents[2] / "docs/scale.md").read_text()
SIZES = clip_sizes(open_clip.get_model_config("ViT-B-16"))
TOKENS = 24
RANKS = (1, 8, 64, 256, 1024)


def ddp(ranks, batch):
    """A row of the tables of DDP."""
    tracer, flyp = (step_flops(SIZES, batch, ranks, TOKENS, teacher) for teacher in (True, False))
    losses = similarity_flops(SIZES.dim, batch * ranks, TRACER_PRODUCTS) / tracer
    arriving = traffic(SIZES, batch, ranks, teacher=True).total
    cells = (
        *(f"{ranks:,}", f"{batch:,}", f"{batch * ranks:,}", f"{tracer / 1e12:,.2f}", f"{losses:.1%}"),
        *(f"{tracer / flyp:.2f}", f"{1e3 * H100S.compute_seconds(tracer):,.1f}", f"{arriving / 1e6:,.0f}"),
        *(
            f"{1e3 * H100S.transfer_seconds(arriving, ranks):,.1f}",
            f"{memory(SIZES, batch, ranks, TOKENS).total / 1e9:,.1f}",
        ),
    )
    return "| " + " | ".join(cells) + " |"


def fsdp(ranks, batch):
    """A row of the table of weights in shards on the GPUs of a machine."""
    full, sharded = (memory(SIZES, batch, ranks, TOKENS, shards) for shards in (1, H100S.machine))
    full_traffic, sharded_traffic = (traffic(SIZES, batch, ranks, True, shards) for shards in (1, H100S.machine))
    held = [(m.student + m.teacher + m.buckets + m.gathered) / 1e9 for m in (full, sharded)]
    sent = [(t.weights + t.gradients) / 1e6 for t in (full_traffic, sharded_traffic)]
    return f"| {ranks:,} | {held[0]:.2f} | {held[1]:.2f} | {sent[0]:,.0f} | {sent[1]:,.0f} |"


@pytest.mark.parametrize(
    "row",
    [
        *(ddp(ranks, 512 // ranks) for ranks in (1, 8, 64, 512)),
        *(ddp(ranks, batch) for batch in (64, 512) for ranks in RANKS),
        *(fsdp(ranks, 64) for ranks in RANKS if ranks > 1),
    ],
)
def test_tables_have_the_computed_rows(row):
    assert row in PAGE
