"""Settings that are chosen by the data and the machine."""

import pytest
import yaml

from tests.commands.helpers import composed, hydra_context
from tests.data.images.test_splits import write
from tracer_lightning.commands.train import run
from tracer_lightning.config.automatic import choose_automatic
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.local_data import local_data

SIZES = {"train": {"n1": 10, "n2": 10}, "test": {"n1": 2, "n2": 2}}
OWN = ("experiment=own_images", "backbone=digits_vit", "data.num_workers=0")


@pytest.fixture
def pets(tmp_path):
    return write(tmp_path / "pets", SIZES, SIZES)


def own_images(tmp_path, pets, *overrides):
    with hydra_context():
        return composed(tmp_path, *OWN, f"data.root={pets}", *overrides, tiny=False)


def test_they_are_chosen_said_and_kept(tmp_path, pets, capsys):
    composition = own_images(tmp_path, pets)
    continued = composition.copy()
    with local_data(composition) as cfg:
        choose_automatic(cfg, build_backbone(cfg, None))
    assert (cfg.data.batch_size, cfg.trainer.max_epochs) == (16, 30)  # of 18 images, as two are held out
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("data.batch_size=16: a step needs about ") for line in lines)
    assert any(line.startswith("trainer.max_epochs=30 for 18 training images: ") for line in lines)

    choose_automatic(continued, None, {"data": {"batch_size": 4}, "trainer": {"max_epochs": 7}})
    assert (continued.data.batch_size, continued.trainer.max_epochs) == (4, 7)


def test_processes_share_the_batch(tmp_path, pets, capsys):
    composition = own_images(tmp_path, pets, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=3")
    with local_data(composition) as cfg:
        choose_automatic(cfg, build_backbone(cfg, None))
    assert cfg.data.batch_size == 15  # 16, as a multiple of three
    assert " in each of 3 processes, " in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_records_what_was_chosen_and_is_continued_with_it(tmp_path, pets):
    cfg = own_images(tmp_path, pets, "trainer.max_epochs=1", "backbone.vision_cfg.layers=1", "tags=[mine]")
    with local_data(cfg):
        results = run(cfg)
    assert cfg.data.batch_size == 16
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert (config["data"]["batch_size"], config["trainer"]["max_epochs"], config["tags"]) == ("auto", 1, ["mine"])
    again = own_images(
        tmp_path, pets, "trainer.max_epochs=1", "backbone.vision_cfg.layers=1", "resume=auto", "tags=[other]"
    )
    with local_data(again):
        assert run(again)["student"] == results["student"]
