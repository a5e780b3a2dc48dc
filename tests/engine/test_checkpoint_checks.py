"""A checkpoint of anybody's is continued from, or refused in one line before anything is written."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.commands.helpers import composed, hydra_context
from tracer_lightning.commands.train import run
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import build_data, build_module, build_trainer
from tracer_lightning.config.errors import setting
from tracer_lightning.engine.checkpoint_checks import check_content, check_restorable, restoring
from tracer_lightning.engine.resume import check_position


def saved(**changes):
    state = {"hyper_parameters": {}, "state_dict": {}, "callbacks": {}, "loops": {}, "optimizer_states": []}
    numbers = {"epoch": 1, "global_step": 4, "total_steps": 8, "pytorch-lightning_version": "2.6.0"}
    return state | {"lr_schedulers": [], **numbers} | changes


@pytest.mark.parametrize(
    "path",
    [
        "memory://bucket/theirs",
        "{folder}/run/checkpoints/../../theirs",
        "s3://bucket",
        "../theirs",
        "simplecache::/theirs",
    ],
)
@pytest.mark.parametrize("key", ["best_model_path", "last_model_path", "kth_best_model_path", "best_k_models"])
def test_a_checkpoint_does_not_say_what_is_removed(tmp_path, path, key):
    """Lightning removes its ``best_model_path`` when it writes the next one, also out of its folder."""
    path = path.format(folder=tmp_path)
    state = {"ModelCheckpoint": {key: {path: 1} if key == "best_k_models" else path}}
    with pytest.raises(ValueError, match=r"resume=x: it names the file .*, outside of its folder"):
        check_content(saved(callbacks=state), Path("x"))


def test_lightning_would_remove_it(tmp_path):
    """Why the check is needed."""
    folder, theirs = tmp_path / "run/checkpoints", tmp_path / "theirs"
    folder.mkdir(parents=True)
    theirs.mkdir()
    callback = ModelCheckpoint(folder)
    trainer = Trainer(logger=False, callbacks=[callback], accelerator="cpu", default_root_dir=tmp_path)
    assert callback._should_remove_checkpoint(trainer, f"{folder}/../../theirs", "new")


NEEDED = ("hyper_parameters", "state_dict", "callbacks", "loops", "epoch", "total_steps")


def test_a_run_that_trains_nothing_by_steps_is_continued():
    check_content(saved(total_steps=None), Path("x"))


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in NEEDED for value in (None, "x", 0.5, [[1]]) if (key, value) != ("total_steps", None)],
)
def test_what_is_no_checkpoint_of_a_run_is_not_continued(key, value):
    check_content(saved(), Path("x"))
    with pytest.raises(ValueError, match="resume=x: no checkpoint of a run of this project"):
        check_content(saved(**{key: value}), Path("x"))


@pytest.mark.parametrize("version", ["", "x", "1.9.5", "0.0.0", "3.0.0", "99", "2.6.0; import os"])
def test_checkpoints_of_other_versions_of_lightning_are_not_continued(version):
    with pytest.raises(ValueError, match=r"resume=x: it is of Lightning '"):
        check_content(saved(**{"pytorch-lightning_version": version}), Path("x"))


@pytest.fixture(scope="module")
def finished(finished_run):
    return finished_run.folder.parent


NAN = float("nan")
DAMAGE = {
    "no version": lambda c: c.pop("pytorch-lightning_version"),
    "no loops": lambda c: c.update(loops={}),
    "a loop that is text": lambda c: c["loops"].update(fit_loop="x"),
    "a loop without progress": lambda c: c["loops"]["fit_loop"].pop("epoch_progress"),
    "progress that is text": lambda c: c["loops"]["fit_loop"]["epoch_progress"].update(current="x"),
    "negative progress": lambda c: c["loops"]["fit_loop"]["epoch_progress"]["current"].update(processed=-(10**9)),
    "fractional progress": lambda c: c["loops"]["fit_loop"]["epoch_progress"]["current"].update(processed=0.5),
    "another loop": lambda c: c["loops"].update(evil_loop={}),
    "another step": lambda c: c.update(global_step=7),
    "no schedule": lambda c: c.update(lr_schedulers=[]),
    "an empty schedule": lambda c: c.update(lr_schedulers=[{}]),
    "a schedule that is text": lambda c: c.update(lr_schedulers=["x"]),
    "a schedule of texts": lambda c: c["lr_schedulers"][0].update(last_epoch="x"),
    "a schedule with more": lambda c: c["lr_schedulers"][0].update(step="x"),
    "a schedule that is no number": lambda c: c["lr_schedulers"][0].update(base_lrs=[NAN]),
    "without optimizer": lambda c: c.update(optimizer_states=[]),
    "an optimizer that is text": lambda c: c.update(optimizer_states=["x"]),
    "an optimizer of other parameters": lambda c: c["optimizer_states"][0]["state"].update({99: {}}),
    "an optimizer of other shapes": lambda c: c["optimizer_states"][0]["state"][0].update(exp_avg=torch.ones(3)),
    "an optimizer of texts": lambda c: c["optimizer_states"][0]["state"][0].update(exp_avg="x"),
    "an optimizer without groups": lambda c: c["optimizer_states"][0].update(param_groups=[]),
    "an optimizer with odd groups": lambda c: c["optimizer_states"][0].update(param_groups=[{"params": "x"}]),
    "an optimizer with no numbers": lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr="x"),
    "an optimizer that is not finite": lambda c: c["optimizer_states"][0]["state"][0]["exp_avg"].fill_(NAN),
    "weights that are not finite": lambda c: c["state_dict"]["student.model.logit_scale"].fill_(NAN),
    "a teacher that is not finite": lambda c: c["state_dict"]["teacher.module.model.logit_scale"].fill_(NAN),
    "missing weights": lambda c: c["state_dict"].pop("student.model.logit_scale"),
    "weights of another shape": lambda c: c["state_dict"].update({"student.model.logit_scale": torch.ones(2)}),
    "more weights": lambda c: c["state_dict"].update({"student.evil": torch.ones(2)}),
    "a clock that is text": lambda c: c["state_dict"].update({"teacher._extra_state": "x"}),
    "an odd clock": lambda c: c["state_dict"]["teacher._extra_state"].update(weight_sum="x"),
    "an empty clock": lambda c: c["state_dict"]["teacher._extra_state"].clear(),
    "a position that is text": lambda c: c.update(DigitsDataModule="x"),
    "no position": lambda c: c.update(DigitsDataModule={"sampler": {}}),
    "an odd position": lambda c: c["DigitsDataModule"]["sampler"].update(consumed="x"),
    "a negative position": lambda c: c["DigitsDataModule"]["sampler"].update(consumed=-5),
    "a callback that is text": lambda c: c["callbacks"].update(TeacherUpdate="x"),
    "a callback without its state": lambda c: c["callbacks"].update(TeacherUpdate={}),
    "a callback with an odd state": lambda c: c["callbacks"].update(TeacherUpdate={"skipped": "x"}),
    "a number of steps that is negative": lambda c: c.update(total_steps=-1),
    "settings that hold a tensor": lambda c: c["hyper_parameters"].update(seed=torch.ones(2)),
    "settings with other keys": lambda c: c["hyper_parameters"].update({1: 2}),
}


@pytest.fixture(scope="module")
def parts(finished):
    """A trainer, a module and data of the same settings as the finished run's."""
    with hydra_context():
        cfg = composed(finished, "callbacks.checkpoint.dirpath=x")
    backbone = build_backbone(cfg, None)
    data = build_data(cfg, backbone)
    return build_trainer(cfg), build_module(cfg, backbone, data), data


def damaged(finished, kind):
    name = ("last.ckpt", "previous.ckpt")[len(kind) % 2]  # of the end, and of the middle
    content = torch.load(finished / "run/checkpoints" / name, weights_only=True)
    DAMAGE.get(kind, lambda c: None)(content)
    return content


def check(content, trainer, module, data):
    check_content(content, Path("x"))
    check_restorable(content, Path("x"), trainer, module)
    with setting("resume=x"):
        check_position(content, trainer, data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_state_is_refused(finished, parts, kind):
    with pytest.raises(ValueError, match=r"^resume=x: ") as caught:
        check(damaged(finished, kind), *parts)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("kind", ["of the end", "of the middle"])
def test_what_a_run_writes_is_continued(finished, parts, kind):
    check(damaged(finished, kind), *parts)


@pytest.mark.parametrize(
    "kind",
    [
        "a loop that is text",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("no version", "a clock that is text", "a negative position")
        ),
    ],
)
def test_a_refused_run_writes_nothing(finished, tmp_path, kind):
    torch.save(damaged(finished, kind), tmp_path / "damaged.ckpt")
    with hydra_context():
        cfg = composed(tmp_path, "trainer.max_epochs=2", f"resume={tmp_path}/damaged.ckpt")
        with pytest.raises(ValueError, match=r"resume=.*damaged\.ckpt: "):
            run(cfg)
    assert not (tmp_path / "run/config.yaml").exists()


def test_errors_of_restoring_name_the_checkpoint():
    def restore_training_state():
        raise KeyError("optimizer")

    message = r"resume=x\.ckpt: its state can't be restored \(KeyError: 'optimizer'\)"
    with pytest.raises(ValueError, match=message), restoring(Path("x.ckpt")):
        restore_training_state()
    with pytest.raises(KeyError), restoring(Path("x.ckpt")):
        raise KeyError("of training")
