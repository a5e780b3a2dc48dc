"""Samples that an evaluation has read."""

import lightning.pytorch as pl
import pytest

from tracer_lightning.engine.samples import runs_all_test_batches


@pytest.mark.parametrize(("limit", "expected"), [(None, True), (1.0, True), (1, False), (3, False), (0.5, False)])
def test_one_batch_is_a_limit_and_one_point_zero_is_none(limit, expected):
    trainer = pl.Trainer(accelerator="cpu", limit_test_batches=limit, logger=False, enable_checkpointing=False)
    assert runs_all_test_batches(trainer) is expected
