"""What ranks send in real training steps is what the analytic count says."""

import json
import os
import socket
from collections import Counter

import lightning.pytorch as pl
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training_helpers import make_data, make_module, make_trainer
from tracer_lightning.analysis.cost import Traffic, clip_sizes, traffic
from tracer_lightning.teachers import NoTeacher

CONFIG = {  # of tests.conftest.tiny_backbone
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
SIZES = clip_sizes(CONFIG)
GLOBAL, STEPS = 32, 3
IN_SHARDS = ("weights", "gradients")


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


def worker(local_rank, folder, port, shape, teacher):
    copies, shards = shape
    ranks = copies * shards
    os.environ |= {"LOCAL_RANK": str(local_rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    strategy = (
        DDPStrategy() if shards == 1 else ModelParallelStrategy(copies, shards, save_distributed_checkpoint=False)
    )
    module = make_module(make_data(), **({} if teacher else {"teacher": NoTeacher, "terms": ("info_nce",)}))
    watch = Watch()
    trainer = make_trainer(folder, STEPS, [watch], strategy=strategy, devices=ranks)
    trainer.fit(module, datamodule=make_data(batch_size=GLOBAL))
    (folder / f"{local_rank}.json").write_text(json.dumps(watch.collectives.arrived))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "teacher"),
    [((1, 1), True), ((2, 1), True), ((4, 1), True), ((4, 1), False), ((1, 4), True), ((2, 2), True)],
    ids=["one", "ddp2", "ddp4", "ddp4-flyp", "fsdp4", "fsdp2x2"],
)
def test_bytes_of_a_training_step(tmp_path, shape, teacher):
    """Copies and shards of the weights; one shard is DDP."""
    ranks = shape[0] * shape[1]
    mp.spawn(worker, (tmp_path, free_port(), shape, teacher), nprocs=ranks)
    expected = traffic(SIZES, GLOBAL // ranks, ranks, teacher, shards=shape[1])
    for rank in range(ranks):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert set(found) <= set(Traffic._fields)
        for kind, value in expected._asdict().items():  # shards are of whole rows, and so padded
            assert found.get(kind, 0) == pytest.approx(value, rel=1e-3 if kind in IN_SHARDS and shape[1] > 1 else 1e-12)
    assert (expected.total > 0) == (ranks > 1)
