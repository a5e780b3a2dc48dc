"""Whole runs, small."""

import csv
import json
import re
import shutil

import pytest
import torch
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tests.comparing import differences
from tracer_lightning.commands.train import checkpoint_to_resume, prerequisite_checkpoint, run
from tracer_lightning.data.digits.styles import STYLES
from tracer_lightning.engine import prerequisite as prerequisite_module
from tracer_lightning.engine import run_folder
from tracer_lightning.engine.run_folder import lock_run_dir
from tracer_lightning.reporting.training_curves import read_curves


@pytest.fixture(autouse=True)
def hydra():
    with hydra_context():
        yield


def test_a_run_leaves_its_results(finished_run):
    folder, returned = finished_run
    results = json.loads((folder / "results.json").read_text())
    assert results == returned
    assert {"zero_shot", "student", "teacher", "method", "seed", "versions", "seconds"} <= set(results)
    for model in ("zero_shot", "student", "teacher"):
        assert set(results[model]) == {*STYLES, "avg_ood"}
        assert set(results[model]["spurious"]) == {"split", "role", "n", "accuracy", "accuracy_top5", "ece", "macro_f1"}
        assert {values["n"] for name, values in results[model].items() if name != "avg_ood"} == {540}
    assert results["student"] != results["zero_shot"]
    assert results["start"] is None
    details = json.loads((folder / "details.json").read_text())
    for model in ("zero_shot", "student", "teacher"):
        counts = details[model]["spurious"]["classes"]
        assert len(counts["n"]) == len(details["labels"]["spurious"])
        assert sum(counts["correct"]) / sum(counts["n"]) == results[model]["spurious"]["accuracy"]
    with (folder / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    for column in ("train/loss/total", "train/loss/fd", "val/spurious/accuracy", "test/plain/ece", "lr-AdamW"):
        assert any(row.get(column) for row in rows), column
    assert OmegaConf.load(folder / "config.yaml").method.name == "tracer"
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 8


@pytest.mark.slow
def test_no_teacher_no_teacher_results(tmp_path):
    assert run(composed(tmp_path, "method=flyp"))["teacher"] is None


@pytest.mark.slow
def test_resume_continues_a_run_exactly(tmp_path):
    """Its curves, too; those of distances are to the weights that the unbroken run began with."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    statistics = ("callbacks=teacher_statistics", "callbacks.teacher_statistics.every_n_steps=3")
    whole = run(composed(tmp_path / "whole", *statistics))
    run_until(composed(tmp_path / "broken", *statistics), epochs=1)
    resumed = run(composed(tmp_path / "broken", *statistics, "resume=auto"))
    for model in ("zero_shot", "student", "teacher"):
        assert resumed[model] == whole[model]
    unbroken_state, resumed_state = (
        torch.load(tmp_path / name / "run/checkpoints/last.ckpt", weights_only=True) for name in ("whole", "broken")
    )
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert not differences(unbroken_state[part], resumed_state[part], part)
    curves, continued = (read_curves(tmp_path / name / "run/metrics.csv") for name in ("whole", "broken"))
    assert curves == continued
    assert curves["teacher/distance_to_start"].steps == curves["teacher/kl"].steps == [2, 5]


@pytest.mark.slow
def test_a_finished_run_may_keep_only_its_weights(finished_run, tmp_path):
    """They are the same, and the finished run can still be repeated."""
    results = run(composed(tmp_path, "keep=weights"))
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["last.ckpt"]
    kept, whole = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
        for folder in (tmp_path / "run", finished_run.folder)
    )
    assert whole["optimizer_states"]
    assert kept["optimizer_states"] == []
    assert not differences(kept["state_dict"], whole["state_dict"])
    repeated = run(composed(tmp_path, "keep=weights", "resume=auto"))
    assert repeated["student"] == results["student"] == finished_run.results["student"]


@pytest.mark.slow
def test_the_saved_model_is_the_reported_one(tmp_path):
    """Also where validation does not fall on the last epoch."""
    run(composed(tmp_path, "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"))
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 12


def test_two_processes_do_not_share_a_folder(tmp_path):
    with (
        lock_run_dir(tmp_path / "run", anew=True),
        pytest.raises(ValueError, match=r"another process writes in .*run; give this run a name"),
    ):
        run(composed(tmp_path))


class Killed(BaseException):
    """Stands for a kill."""


def run_until(cfg, epochs):
    """Run, and die after some epochs."""
    from lightning.pytorch import Callback

    class Kill(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.current_epoch == epochs and batch_idx == 2:  # rows behind the checkpoint are written, too
                for logger in trainer.loggers:
                    logger.save()
                raise Killed

    with pytest.raises(Killed):
        run(cfg, callbacks=[Kill()])


def test_a_finished_folder_is_not_overwritten(finished_run):
    with pytest.raises(ValueError, match="holds a run already; set resume to 'auto' to continue it"):
        run(composed(finished_run.folder.parent))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("method=tracer_ema", "teacher.module._target_: this run has "),
        pytest.param(
            "trainer.max_epochs=3", "12 optimizer steps and the checkpoint was made for 8", marks=pytest.mark.slow
        ),
        ("seed=1", "have seed 0 and this run's seed 1"),
    ],
)
def test_a_refused_continuation_leaves_a_finished_run_as_it_is(finished_run, setting, message):
    folder = finished_run.folder
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(files) > 5
    with pytest.raises(ValueError, match=re.escape(message)):
        run(composed(folder.parent, "resume=auto", setting))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files


def test_a_run_begun_elsewhere_continues_from_its_own_checkpoints(finished_run, tmp_path, capsys):
    """The same command is repeated when a job is requeued."""
    cfg = composed(tmp_path, f"resume={finished_run.folder}")
    assert checkpoint_to_resume(cfg) == finished_run.folder / "checkpoints/last.ckpt"
    shutil.copytree(finished_run.folder / "checkpoints", tmp_path / "run/checkpoints")
    assert checkpoint_to_resume(cfg) == tmp_path / "run/checkpoints/last.ckpt"
    assert "holds a run already, which is continued instead" in capsys.readouterr().out
    previous = tmp_path / "run/checkpoints/previous.ckpt"
    assert checkpoint_to_resume(composed(tmp_path, f"resume={previous}")) == previous


@pytest.mark.slow
def test_a_run_begun_anew_has_no_results_until_it_ends(finished_run, tmp_path):
    shutil.copytree(finished_run.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    run_until(composed(tmp_path), epochs=1)
    assert (tmp_path / "run/config.yaml").exists()
    assert not (tmp_path / "run/results.json").exists()
    assert not (tmp_path / "run/details.json").exists()


@pytest.mark.exhaustive
def test_resume_from_a_folder_and_from_nowhere(tmp_path):
    run(composed(tmp_path))
    (tmp_path / "again").mkdir()
    again = run(composed(tmp_path / "again", f"resume={tmp_path / 'run'}"))
    assert again["student"] == json.loads((tmp_path / "run/results.json").read_text())["student"]
    with pytest.raises(ValueError, match=r"resume: no checkpoint at nowhere"):
        run(composed(tmp_path / "again", "resume=nowhere"))


@pytest.mark.slow
def test_init_weights_start_a_new_run(tmp_path):
    first = run(composed(tmp_path, "trainer.max_epochs=1"))
    (tmp_path / "second").mkdir()
    checkpoint = tmp_path / "run/checkpoints/last.ckpt"
    second = run(composed(tmp_path / "second", f"init_weights={checkpoint}", "trainer.max_epochs=1", "seed=5"))
    assert second["zero_shot"] == first["student"]
    assert second["start"] == str(checkpoint)


def prerequisite(tmp_path, *overrides):
    shrunk = [
        *("backbone.vision_cfg.layers=1", "backbone.text_cfg.layers=1", "trainer.max_steps=3"),
        *("scheduler.warmup_steps=1", "callbacks.progress.refresh_rate=0", *overrides),
    ]
    cfg = composed(tmp_path, tiny=False)
    cfg.prerequisite.overrides = shrunk
    return cfg


@pytest.mark.slow
def test_prerequisites_run_once_and_are_cached_by_their_settings(tmp_path):
    checkpoint = prerequisite_checkpoint(prerequisite(tmp_path, "min_accuracy=0.0"))
    written = checkpoint.stat().st_mtime_ns
    assert prerequisite_checkpoint(prerequisite(tmp_path, "min_accuracy=0.01")).stat().st_mtime_ns == written
    other_seed = prerequisite_checkpoint(prerequisite(tmp_path, "min_accuracy=0.0", "seed=3"))
    assert other_seed != checkpoint
    assert json.loads((checkpoint.parent.parent / "results.json").read_text())["name"] == "digits_pretrain"


@pytest.mark.slow
def test_a_prerequisite_below_its_floor_is_an_error(tmp_path):
    with pytest.raises(
        ValueError, match=r"digits_pretrain reached a mean accuracy of 0\.\d+, below its min_accuracy of 0\.9"
    ):
        prerequisite_checkpoint(prerequisite(tmp_path, "min_accuracy=0.9"))


@pytest.mark.slow
def test_metrics_of_a_continued_run_have_no_holes_and_no_duplicates(tmp_path):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    run(composed(tmp_path / "whole"))
    run_until(composed(tmp_path / "broken"), epochs=1)
    run(composed(tmp_path / "broken", "resume=auto"))
    tables = []
    for name in ("whole", "broken"):
        with (tmp_path / name / "run/metrics.csv").open() as lines:
            tables.append([{k: v for k, v in row.items() if v} for row in csv.DictReader(lines)])
    assert sorted(map(str, tables[0])) == sorted(map(str, tables[1]))


@pytest.mark.slow
def test_resume_auto_finds_the_unfinished_run_of_the_same_settings(tmp_path):
    """Runs without a name: each in a folder of its own, as Hydra makes them."""

    def unnamed(folder, *overrides):
        cfg = composed(tmp_path, *overrides)
        cfg.paths.outputs = str(tmp_path)
        cfg.paths.output_dir = str(tmp_path / "digits" / folder)
        cfg.run = "${now:%S}"
        (tmp_path / "digits" / folder).mkdir(parents=True, exist_ok=True)
        return cfg

    run_until(unnamed("first"), epochs=1)
    run_until(unnamed("other", "seed=7"), epochs=1)
    run(unnamed("second", "resume=auto"))
    assert not (tmp_path / "digits/second/results.json").exists()
    assert json.loads((tmp_path / "digits/first/results.json").read_text())["seed"] == 0
    assert not (tmp_path / "digits/other/results.json").exists()
    run(unnamed("third", "resume=auto"))  # nothing unfinished is left
    assert (tmp_path / "digits/third/results.json").exists()


@pytest.mark.slow
def test_a_continuation_with_other_settings_is_refused_or_said(finished_run, tmp_path, capsys):
    (tmp_path / "next").mkdir()
    source = f"resume={finished_run.folder}"
    with pytest.raises(ValueError, match=r"teacher\.module\._target_: this run has .*EMA.* and the checkpoint .*WMA"):
        run(composed(tmp_path / "next", source, "method=tracer_ema"))
    with pytest.raises(ValueError, match=r"backbone\.vision_cfg\.layers: this run has 2 and the checkpoint 1"):
        run(composed(tmp_path / "next", source, "backbone.vision_cfg.layers=2"))
    with pytest.raises(ValueError, match=r"kernel\.beta: this run has 1 and the checkpoint 0\.5"):
        run(composed(tmp_path / "next", source, "kernel.beta=1"))
    run(composed(tmp_path / "next", source, "optimizer.lr=1e-4", "distill_losses.fd.weight=1"))
    said = capsys.readouterr().out
    assert "optimizer.lr: this run has 0.0001 and the checkpoint 0.001; the checkpoint's value is used" in said
    assert "distill_losses.fd.weight: this run has 1 and the checkpoint 3.90625; this run's value is used" in said
    (tmp_path / "more").mkdir()
    with pytest.raises(ValueError, match="12 optimizer steps and the checkpoint was made for 8"):
        run(composed(tmp_path / "more", source, "trainer.max_epochs=3"))


def test_other_ranks_do_not_wait_for_a_dead_one(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "CHECK_INTERVAL", 1)
    with pytest.raises(ValueError, match="has ended without results"):
        prerequisite_module.wait_until_finished(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    prerequisite_module.wait_until_finished(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "also", ["compute.micro_batch=64", pytest.param("teacher.precision=bf16", marks=pytest.mark.exhaustive)]
)
def test_a_compiled_run_has_the_losses_of_a_plain_one(tmp_path, also):
    losses = []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        folder.mkdir()
        run(composed(folder, f"compute.compile={compiled}".lower(), also))
        with (folder / "run/metrics.csv").open() as lines:
            losses.append([float(row["train/loss/total"]) for row in csv.DictReader(lines) if row["train/loss/total"]])
    assert len(losses[0]) == 8
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.slow
def test_checkpointed_activations_change_nothing(tmp_path):
    results = []
    for value in ("false", "true"):
        folder = tmp_path / value
        folder.mkdir()
        results.append(run(composed(folder, f"compute.gradient_checkpointing={value}"))["student"])
    assert results[0] == results[1]


@pytest.mark.slow
def test_l2_sp_continues_with_the_same_origin(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    settings = ("method=l2_sp", "regularizers.l2_sp.weight=0.1")
    whole = run(composed(tmp_path / "whole", *settings))
    run_until(composed(tmp_path / "broken", *settings), epochs=1)
    assert run(composed(tmp_path / "broken", *settings, "resume=auto"))["student"] == whole["student"]
