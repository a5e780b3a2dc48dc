"""What ranks send in real training steps is what the analytic count says."""

import contextlib
import json
import os
import random
import socket
from collections import Counter

import lightning.pytorch as pl
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.utils._python_dispatch import TorchDispatchMode

from tests.ranks import run_ranks
from tests.training_helpers import make_data, make_module, make_trainer
from tracer_lightning.benchmarks.cost import Traffic, traffic
from tracer_lightning.benchmarks.sizes import clip_sizes
from tracer_lightning.teachers import NoTeacher

CONFIG = {  # of tests.conftest.tiny_backbone
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
SIZES = clip_sizes(CONFIG)
GLOBAL, STEPS = 32, 3
RUNS = {
    "one": (1, 1, True),
    "ddp4": (4, 1, True),
    "fsdp4-flyp": (1, 4, False),
    "fsdp2x2": (2, 2, True),
}
"""Copies and shards of the weights, one shard being DDP, and whether there is a teacher."""
MORE_RUNS = {
    "ddp2": (2, 1, True),
    "ddp4-flyp": (4, 1, False),
    "fsdp2": (1, 2, True),
    "fsdp4": (1, 4, True),
    "ddp8": (8, 1, True),
    "fsdp2x4": (2, 4, True),
}


def size(tensors):
    return sum(tensor.nbytes for tensor in torch.utils._pytree.tree_leaves(tensors))


class Collectives(TorchDispatchMode):
    """Counts the bytes that arrive at this rank by collectives, whoever starts them, and the calls of other ones."""

    def __init__(self):
        super().__init__()
        self.arrived = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            name = func.overloadpacket.__name__
            if hasattr(self, name):
                getattr(self, name)(*args)
            else:  # an exception here would leave the other ranks waiting
                self.arrived[name] += 1
        return func(*args, **(kwargs or {}))

    def allgather_(self, outputs, inputs, *_):
        self.arrived["features"] += size(outputs) - size(inputs)

    def scatter_(self, outputs, inputs, group, root, *_):
        """Which gloo, lacking others, gives features' gradients back with: one of its own and one of each rank."""
        self.arrived["returned"] += size(outputs) if root != dist.get_rank() else 0

    def allreduce_(self, tensors, group, *_):
        ranks = dist.ProcessGroup.unbox(group).size()
        self.arrived["gradients"] += 2 * (ranks - 1) / ranks * size(tensors)

    def _allgather_base_(self, output, part, *_):
        self.arrived["weights"] += size(output) - size(part)

    def _reduce_scatter_base_(self, part, whole, *_):
        self.arrived["gradients"] += size(whole) - size(part)


class Watch(pl.Callback):
    """Keeps what arrives in the last step: DDP arranges its buckets anew after the first."""

    def on_train_batch_start(self, *_):
        self.collectives = Collectives()
        self.collectives.__enter__()

    def on_train_batch_end(self, *_):
        self.collectives.__exit__(None, None, None)


def worker(local_rank, folder, ports, runs):
    torch.set_num_threads(1)
    for (name, (copies, shards, teacher)), port in zip(runs.items(), ports, strict=True):
        if local_rank >= copies * shards:
            continue
        os.environ |= {"LOCAL_RANK": str(local_rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        strategy = (
            DDPStrategy() if shards == 1 else ModelParallelStrategy(copies, shards, save_distributed_checkpoint=False)
        )
        module = make_module(make_data(), **({} if teacher else {"teacher": NoTeacher, "terms": ("info_nce",)}))
        watch = Watch()
        trainer = make_trainer(folder, STEPS, [watch], strategy=strategy, devices=copies * shards)
        trainer.fit(module, datamodule=make_data(batch_size=GLOBAL))
        (folder / f"{name}.{local_rank}.json").write_text(json.dumps(watch.collectives.arrived))
        dist.destroy_process_group()


def free_ports(count):
    """Below those that the system gives to connections, which might take one before it is used."""
    free = set()
    while len(free) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            free.add(port)
    return list(free)


@pytest.fixture(scope="module", params=[RUNS, pytest.param(MORE_RUNS, marks=pytest.mark.exhaustive)])
def measured(tmp_path_factory, request):
    """A folder of what arrived, by run and rank, and the runs; the processes are started once for all of them."""
    folder = tmp_path_factory.mktemp("arrived")
    ranks = max(copies * shards for copies, shards, _ in request.param.values())
    run_ranks(worker, (folder, free_ports(len(request.param)), request.param), ranks)
    return folder, request.param


@pytest.mark.slow
def test_bytes_of_a_training_step(measured):
    folder, runs = measured
    for name, settings in runs.items():
        check_bytes(folder, name, *settings)


def check_bytes(folder, name, copies, shards, teacher):
    ranks = copies * shards
    expected = traffic(SIZES, GLOBAL // ranks, ranks, teacher, shards)
    for rank in range(ranks):
        arrived = json.loads((folder / f"{name}.{rank}.json").read_text())
        assert {**dict.fromkeys(Traffic._fields, 0), **arrived} == expected._asdict(), name
    assert (expected.total > 0) == (ranks > 1)
