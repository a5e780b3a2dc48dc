"""Atomic checkpoints and their rotation."""

import numpy as np
import pytest
import torch

from tests.storage.mounts import mounted
from tracer_lightning.storage.checkpoints import AtomicCheckpointIO, is_intact, promote_checkpoint
from tracer_lightning.storage.run_layout import LAST, NEXT, PREVIOUS


def checkpoint(value=0.0, size=1000):
    return {"state_dict": {"weight": torch.full((size,), value)}, "global_step": 3}


def saved_value(path):
    return AtomicCheckpointIO().load_checkpoint(path, weights_only=True)["state_dict"]["weight"][0].item()


def test_promotion_turns_the_last_checkpoint_into_the_previous_one(tmp_path):
    for number in range(3):
        AtomicCheckpointIO().save_checkpoint(checkpoint(number), tmp_path / NEXT)
        promote_checkpoint(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, PREVIOUS]
    assert (saved_value(tmp_path / LAST), saved_value(tmp_path / PREVIOUS)) == (2.0, 1.0)


def test_a_damaged_last_checkpoint_does_not_replace_the_previous_one(tmp_path):
    AtomicCheckpointIO().save_checkpoint(checkpoint(1.0), tmp_path / PREVIOUS)
    (tmp_path / LAST).write_bytes(b"half")
    AtomicCheckpointIO().save_checkpoint(checkpoint(2.0), tmp_path / NEXT)
    promote_checkpoint(tmp_path, keep=False)
    assert (saved_value(tmp_path / LAST), saved_value(tmp_path / PREVIOUS)) == (2.0, 1.0)


def test_damage_is_detected(tmp_path):
    path = tmp_path / LAST
    AtomicCheckpointIO().save_checkpoint(checkpoint(), path)
    content = path.read_bytes()
    assert is_intact(path)
    path.write_bytes(content[: len(content) // 2])
    assert not is_intact(path)
    path.write_bytes(b"")
    assert not is_intact(path)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1  # a bit of the weights: torch itself would load the file
    path.write_bytes(bytes(flipped))
    assert not is_intact(path)
    assert not is_intact(tmp_path / "absent.ckpt")


def test_numpy_scalars_are_restored_as_plain_numbers(tmp_path):
    AtomicCheckpointIO().save_checkpoint({**checkpoint(2.0), "best": np.float64(0.1)}, tmp_path / LAST)
    content = AtomicCheckpointIO().load_checkpoint(tmp_path / LAST, weights_only=True)
    assert type(content["best"]) is float
    assert (content["best"], saved_value(tmp_path / LAST)) == (0.1, 2.0)


def test_a_full_disk_raises_an_error_and_keeps_the_old_checkpoint(tmp_path):
    with mounted(tmp_path / "disk", "1m") as disk:
        AtomicCheckpointIO().save_checkpoint(checkpoint(1.0), disk / LAST)
        with pytest.raises(OSError, match="No space left on device"):
            AtomicCheckpointIO().save_checkpoint(checkpoint(2.0, size=1_000_000), disk / LAST)
        assert saved_value(disk / LAST) == 1.0
        assert [path.name for path in disk.iterdir()] == [LAST]
