"""Samples are encoded as many at once as fit into memory."""

import numpy as np
import torch

from tests.data.arrays.helpers import array_data
from tracer_lightning.alignment.encoding import TrainingSamples

CPU = torch.device("cpu")


def test_large_samples_are_encoded_a_few_at_a_time(tmp_path):
    samples = np.zeros((18, 1, 1000, 1000), np.float16)  # 4 MB each as they are encoded
    samples[:, 0, 0, 0] = np.arange(18)
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}_x.npy", samples)
        np.save(tmp_path / f"{split}_y.npy", np.arange(18) % 3)
    data = array_data(tmp_path, held_out={"fraction": 0.0, "seed": 0})
    batches = list(TrainingSamples(data, None, 0, CPU).batches())
    assert [len(images) for images, _ in batches] == [16, 2]
    assert torch.cat([labels for _, labels in batches]).tolist() == (np.arange(18) % 3).tolist()
