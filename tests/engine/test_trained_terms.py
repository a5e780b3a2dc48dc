"""A term with weights of its own: trained with the student, continued, and left behind."""

import shutil

import pytest
import torch

from tests.commands.helpers import TINY, composed, hydra_context
from tests.comparing import differences
from tracer_lightning.commands.train import run
from tracer_lightning.engine.run_folder import CHECKPOINT, PREVIOUS
from tracer_lightning.models import read_checkpoint

SETTINGS = (*TINY, "distill_losses=[fd,afd]", "trainer.max_epochs=2")
FUSIONS = [f"loss.terms.afd.{tower}_fusion.{part}" for tower in ("image", "text") for part in ("weight", "bias")]


def train(tmp_path, *more):
    with hydra_context():
        results = run(composed(tmp_path, *SETTINGS, *more, tiny=False))
    return results, read_checkpoint(tmp_path / "run" / CHECKPOINT, "checkpoint")


@pytest.mark.slow
def test_a_continued_run_ends_where_an_unbroken_one_does(tmp_path):
    results, whole = train(tmp_path)
    first = read_checkpoint((tmp_path / "run" / CHECKPOINT).with_name(PREVIOUS), "checkpoint")
    for name in FUSIONS:
        assert not torch.equal(first["state_dict"][name], whole["state_dict"][name])
    trained = [name for name in whole["state_dict"] if name.startswith("student.")]
    assert len(whole["optimizer_states"][0]["state"]) == len(trained) + len(FUSIONS)
    assert results["teacher"]
    again = tmp_path / "again"
    (again / "run").mkdir(parents=True)
    shutil.copy((tmp_path / "run" / CHECKPOINT).with_name(PREVIOUS), again / "half.ckpt")
    _, continued = train(again, f"resume={again / 'half.ckpt'}")
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert not differences(whole[part], continued[part], part)
