"""Scores of the last validation of a run."""

import pytest

from tests.training_helpers import make_data, make_module, make_trainer
from tracer_lightning.engine.validation import last_validation, logged_validation


@pytest.mark.parametrize("steps", [2, 3])
def test_it_is_of_the_trained_model(tmp_path, steps):
    """An epoch, which ends with a validation, has two steps."""
    data = make_data(400)
    module = make_module(data, lr=1e-2)
    trainer = make_trainer(tmp_path, steps, limit_val_batches=1)
    trainer.fit(module, datamodule=data)
    scores = last_validation(trainer, module, data)
    trainer.validate(module, datamodule=data, verbose=False)
    assert scores == logged_validation(trainer.callback_metrics)
    assert scores["spurious"]["ece"] > 0
