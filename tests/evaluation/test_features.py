"""Features of all processes."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.conftest import tiny_backbone
from tracer_lightning.evaluation.features import FeatureModule
from tracer_lightning.types import Batch

SHARES = {0: slice(0, 3), 1: slice(3, 4)}
"""Streams end where they end: one process has three pictures left, and one has padding."""


def batch(share):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))[share]
    labels = torch.tensor([2, 0, 1, -1])[share]
    return Batch(images, torch.zeros(len(images), 0), labels, labels)


def worker(rank, rendezvous, result_file):
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=len(SHARES))
    torch.set_num_threads(1)
    torch.save(FeatureModule(tiny_backbone().model.eval()).predict_step(batch(SHARES[rank]), 0), f"{result_file}{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_every_process_has_the_features_of_all_though_batches_differ_in_size(tmp_path):
    mp.spawn(worker, (tmp_path / "rendezvous", tmp_path / "features"), nprocs=len(SHARES))
    features, labels = FeatureModule(tiny_backbone().model.eval()).predict_step(batch(slice(0, 4)), 0)
    assert not features.requires_grad
    for rank in SHARES:
        found = torch.load(f"{tmp_path}/features{rank}", weights_only=True)
        torch.testing.assert_close(found[0], features)
        assert torch.equal(found[1], labels)
