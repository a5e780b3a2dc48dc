"""The numbers of docs/scale.md are those of the module that it names."""

import re
from pathlib import Path

import open_clip
import pytest

from tracer_lightning.benchmarks.cost import (
    H100S,
    TRACER_MATRICES,
    TRACER_PRODUCTS,
    memory,
    similarity_flops,
    step_flops,
    traffic,
)
from tracer_lightning.benchmarks.sizes import clip_sizes

PAGE = (Path(__file__).parents[2] / "docs/scale.md").read_text()
SIZES = clip_sizes(open_clip.get_model_config("ViT-B-16"))
LARGE = clip_sizes(open_clip.get_model_config("ViT-L-14"))
TOKENS = 24
RANKS = (1, 8, 64, 256, 1024)
BEND = 4 * SIZES.forward_flops(TOKENS) / (2 * TRACER_PRODUCTS * SIZES.dim)
"""B R where losses and towers take as many operations."""


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
    whole, shards = (memory(SIZES, batch, ranks, TOKENS, shards) for shards in (1, H100S.machine))
    one, other = (traffic(SIZES, batch, ranks, True, shards) for shards in (1, H100S.machine))
    held = [(m.student + m.teacher + m.buckets + m.gathered) / 1e9 for m in (whole, shards)]
    sent = [(t.weights + t.gradients) / 1e6 for t in (one, other)]
    return f"| {ranks:,} | {held[0]:.2f} | {held[1]:.2f} | {sent[0]:,.0f} | {sent[1]:,.0f} |"


@pytest.mark.parametrize(
    "row",
    [
        *(ddp(ranks, 512 // ranks) for ranks in (1, 8, 64, 512)),
        *(ddp(ranks, batch) for batch in (64, 512) for ranks in RANKS),
        *(fsdp(ranks, 64) for ranks in RANKS if ranks > 1),
    ],
)
def test_rows(row):
    assert row in PAGE


def test_there_are_no_other_rows():
    assert len(re.findall(r"^\| [\d,]+ \|", PAGE, flags=re.MULTILINE)) == 4 + 10 + 4


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("{:.1f} million parameters", SIZES.parameters / 1e6),
        ("{:.1f} of them in blocks", SIZES.block_parameters / 1e6),
        ("{:.1f} GFLOPs with 24 tokens", SIZES.forward_flops(24) / 1e9),
        ("{:.1f} with 77", SIZES.forward_flops(77) / 1e9),
        ("takes {:.1f} and", SIZES.forward_flops(24, pools_first=False) / 1e9),
        ("and {:.1f} GFLOPs.", SIZES.forward_flops(77, pools_first=False) / 1e9),
        ("B R = {:.1f} million", BEND / 1e6),
        ("at 64 pairs per GPU on {:.0f} GPUs", (BEND / 64) ** 0.5),
        ("at 512 on {:.0f}.", (BEND / 512) ** 0.5),
        ("at B = {:.1f} thousand an 80 GB GPU", (80e9 / (4 * TRACER_MATRICES)) ** 0.5 / 1e3),
        ("ViT-L/14 with 224 pairs takes {:.1f}", memory(LARGE, 224, 1, TOKENS).total / 1e9),
        ("From B = {:.1f} thousand on more bytes", 8 * SIZES.parameters / (24 * SIZES.dim) / 1e3),
    ],
)
def test_sentences(sentence, value):
    assert sentence.format(value) in re.sub(r"\s+", " ", PAGE)
