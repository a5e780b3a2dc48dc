"""Heads that the data allow."""

import lightning.pytorch as pl
import pytest
from omegaconf import OmegaConf

from tests.conftest import tiny_backbone
from tests.data.arrays.helpers import array_data, write_values
from tests.data.pairs.pair_files import pairs, rows, write_images, write_rows
from tracer_lightning.config.build import add_head


def pair_data(folder):
    write_images(folder, 3)
    write_rows(folder / "mine.csv", rows(3))
    return pairs(tiny_backbone().spec, folder, val="mine.csv")


def value_data(folder):
    path = write_values(folder / "values.npz", "regression", shape=(3, 32, 32))
    return array_data(path, task="regression")


@pytest.mark.parametrize(
    ("make_data", "trained", "remedy"),
    [
        (pair_data, ["image", "head"], "choose a method without a head, such as flyp, tracer or, "),
        (pair_data, ["image", "text"], "choose head=none"),
        (value_data, ["image", "head"], "choose head=values or, for maps, head=pixels"),
    ],
)
def test_a_head_of_classes_where_there_are_none(tmp_path, make_data, trained, remedy):
    module = {"_target_": "tracer_lightning.models.heads.zero_shot_linear", "_partial_": True}
    cfg = OmegaConf.create({"head": {"name": "zero_shot", "module": module}, "method": {"train": trained}})
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match=f"^head=zero_shot needs classes, which these data don't have; {remedy}"):
        add_head(cfg, tiny_backbone().model, make_data(tmp_path), trainer)
