"""Whole runs on shards."""

import json

import pytest
import torch
from omegaconf import OmegaConf

from tests.commands import stand_ins
from tests.commands.helpers import TINY, composed, hydra_context
from tests.commands.test_cli import train
from tests.comparing import differences
from tests.data.shards.helpers import rewrite, shards, write
from tests.test_distributed import succeeded
from tests.training_helpers import make_module, make_trainer
from tracer_lightning.commands.train import prerequisite_checkpoint, run
from tracer_lightning.engine.features import training_features

STREAM = ["data/reader=stream", "data.streams=4"]
SMALL = ["data.batch_size=4", "data.num_workers=0", "trainer.max_epochs=1"]


@pytest.fixture(autouse=True)
def hydra():
    with hydra_context():
        yield


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    stand_ins.write(root, stand_ins.IMAGENET | stand_ins.IWILDCAM | stand_ins.PACS)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("reader", [[], pytest.param(STREAM, marks=pytest.mark.slow)])
def test_imagenet_and_its_shifts(tmp_path, sets, reader):
    one_template = "data.texts.templates={_target_:tests.commands.stand_ins.one_template}"
    options = ["data=imagenet", f"data.root={sets}", *stand_ins.UNCOUNTED["imagenet"], one_template, *SMALL, *reader]
    if reader:
        options += ["data.train.samples=12"]
    results = run(composed(tmp_path, *options))
    sets_of = {"imagenet", "imagenet-v2", "imagenet-r", "imagenet-a", "imagenet-sketch", "objectnet", "avg_ood"}
    for model in ("zero_shot", "student", "teacher"):
        assert set(results[model]) == sets_of
        assert {values["n"] for name, values in results[model].items() if name != "avg_ood"} == {12}
    assert results["headline"] == "accuracy"


def test_a_set_of_another_size_ends_the_run_before_it_begins(tmp_path, sets):
    one_template = "data.texts.templates={_target_:tests.commands.stand_ins.one_template}"
    counted = [option for option in stand_ins.UNCOUNTED["imagenet"] if "imagenet-a" not in option]
    with pytest.raises(ValueError, match=r"suite\.imagenet-a: .*wds_imagenet-a/test contains 12 samples, but 7,500"):
        run(composed(tmp_path, "data=imagenet", f"data.root={sets}", *counted, one_template, *SMALL))


@pytest.mark.slow
def test_a_streamed_set_of_another_size_ends_the_run_before_training(tmp_path, sets):
    options = ["data=pacs", f"data.root={sets}", *SMALL, *STREAM, "+suite.photo.samples=13"]
    with pytest.raises(ValueError, match=r"set photo: 12 samples were read, but 13 are expected"):
        run(composed(tmp_path, *options))
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.slow
def test_iwildcam_is_headed_by_macro_f1(tmp_path, sets, capsys):
    options = ["data=iwildcam", f"data.root={sets}", *stand_ins.UNCOUNTED["iwildcam"], *SMALL]
    results = run(composed(tmp_path, *options))
    assert set(results["student"]) == {"id_test", "ood_test", "avg_ood"}
    assert results["headline"] == "macro_f1"
    assert (tmp_path / "run/metrics.csv").read_text().splitlines()[0].count("val/id_val/macro_f1") == 1
    header = next(line for line in capsys.readouterr().out.splitlines() if "ECE" in line)
    assert header.index("F1") < header.index("acc")


def fitted(path, root, stream, workers=0, checkpoint=None):
    data = shards(root, stream=stream, streams=5, num_workers=workers)
    module = make_module(data)
    make_trainer(path, 8, checkpoint_every=1).fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return torch.load(path / "step=8.ckpt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_a_run_continues_exactly_with_other_workers(tmp_path, stream):
    """Steps 2 and 7 lie within an epoch of five steps, 5 at its end."""
    for folder, split in (("photo", "train"), ("photo", "test"), ("sketch", "test")):
        write(tmp_path / "sets" / folder, split, 50)
    root = tmp_path / "sets"
    whole = fitted(tmp_path / "whole", root, stream)
    for step, workers in ((2, 2), (5, 0), (7, 1)):
        resumed = fitted(tmp_path / f"{step}", root, stream, workers, tmp_path / f"whole/step={step}.ckpt")
        for part in ("state_dict", "optimizer_states", "epoch", "global_step"):
            assert not differences(whole[part], resumed[part], part)


@pytest.mark.slow
@pytest.mark.parametrize("reader", [[*STREAM, "data.num_workers=2"], pytest.param([], marks=pytest.mark.exhaustive)])
def test_two_processes_see_the_same_to_the_last_digit(tmp_path, reader):
    """Fewer shards than readers: three of five samples each, and one of two. An image that can't be read is named."""
    sets = tmp_path / "sets"
    stand_ins.write(sets, stand_ins.PACS)
    rewrite(sets / "pacs_sketch/test/0.tar", lambda name, data: (name, b"<html>" if name == "s0000003.jpg" else data))
    options = [*TINY, "data=pacs", f"data.root={sets}", *SMALL, "data.eval_batch_size=5", "trainer.precision=64-true"]
    options += ["run=test", "callbacks.progress.refresh_rate=0"]
    single = run(composed(tmp_path, *options, tiny=False))
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    result = train(*options, *ddp, *reader, cwd=tmp_path)
    succeeded(result)
    assert "could not be read: 1 image: " in result.stdout + result.stderr
    results = json.loads((tmp_path / "outputs/digits/test/results.json").read_text())
    assert results["zero_shot"] == single["zero_shot"]
    assert results["zero_shot"]["sketch"]["n"] == 11


@pytest.mark.slow
def test_pairs_of_images_and_captions_have_no_classes_for_a_head(tmp_path):
    write(tmp_path / "sets/pairs", "train", 12, classes=(), caption="grey of level {}")
    write(tmp_path / "sets/photo", "test", 12)
    options = [
        "data=shards",
        f"data.root={tmp_path}/sets",
        "data.train.folder=pairs",
        "suite.test.folder=photo",
        *SMALL,
    ]
    with pytest.raises(ValueError, match=r"data: the training images have captions but no labels, which a head"):
        run(composed(tmp_path, *options, "method=ft"))
    with pytest.raises(ValueError, match=r"features must have labels for a linear probe"):
        run(composed(tmp_path, *options, "method=lp"))


def extracted(root, stream, workers=0):
    """Features and labels of the training images, in the order of the labels and features."""
    data = shards(root, stream=stream, num_workers=workers)
    trainer = make_trainer(root, 1)
    features, labels = training_features(trainer, make_module(data).student, data)
    rows = torch.cat([labels[:, None].to(features.dtype), features], dim=1)
    return rows[sorted(range(len(rows)), key=lambda row: rows[row].tolist())]


@pytest.mark.slow
def test_streamed_and_indexed_images_have_the_same_features(tmp_path):
    for folder, split in (("photo", "train"), ("photo", "test"), ("sketch", "test")):
        write(tmp_path / "sets" / folder, split, 50)
    indexed, streamed = (extracted(tmp_path / "sets", stream, workers) for stream, workers in ((False, 0), (True, 2)))
    assert len(indexed) == 50
    torch.testing.assert_close(streamed, indexed)


@pytest.mark.exhaustive
def test_two_processes_probe_a_stream_as_one_does(tmp_path):
    """Of 12 images in three shards one process has seven, the other five."""
    stand_ins.write(tmp_path / "sets", stand_ins.PACS)
    options = [*TINY, "data=pacs", f"data.root={tmp_path}/sets", *SMALL, "data.eval_batch_size=5", "method=lp"]
    options += ["run=test", "callbacks.progress.refresh_rate=0", "trainer.precision=64-true"]
    single = run(composed(tmp_path, *options, tiny=False))
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    succeeded(train(*options, *ddp, *STREAM, cwd=tmp_path))
    results = json.loads((tmp_path / "outputs/digits/test/results.json").read_text())
    for data_set, scores in single["student"].items():
        assert results["student"][data_set]["ece"] == pytest.approx(scores["ece"], abs=1e-6)


@pytest.mark.slow
def test_another_domain_makes_another_prerequisite(tmp_path):
    root = tmp_path / "sets=(a), b"
    stand_ins.write(root, stand_ins.PACS)
    small = [
        "data.batch_size=4",
        "data.num_workers=0",
        "trainer.max_epochs=1",
        "scheduler.warmup_steps=1",
        "min_accuracy=0.0",
    ]
    cfg = composed(tmp_path, "experiment=pacs_flyp", f"data.root='{root}'", tiny=False)
    cfg.data.batch_size, cfg.data.num_workers = 4, 0
    cfg.backbone.vision_cfg.width, cfg.trainer.accelerator = 8, "auto"
    cfg.prerequisite.overrides += [*small, "callbacks.progress.refresh_rate=0"]
    first = prerequisite_checkpoint(cfg)
    assert set(json.loads((first.parents[1] / "results.json").read_text())["student"]) == {
        "art_painting", "photo", "sketch",
    }  # fmt: skip
    required = OmegaConf.load(first.parents[1] / "config.yaml")
    assert (required.backbone.vision_cfg.width, required.trainer.accelerator) == (8, "auto")
    assert prerequisite_checkpoint(cfg) == first
    stand_ins.write(root, {"pacs_clay": (("train", "test"), 7)})
    assert prerequisite_checkpoint(cfg) != first


def test_mistakes_in_data_are_named_before_the_prerequisite_is_trained(tmp_path, sets):
    cfg = composed(tmp_path, "experiment=pacs_flyp", f"data.root={sets}", "data.batch_size=1000", tiny=False)
    with pytest.raises(ValueError, match=r"data: batch_size=1000 is larger than the training set of 12 samples"):
        prerequisite_checkpoint(cfg)
