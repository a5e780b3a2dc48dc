"""A user's mistake is one line naming the setting, status 1, and no traceback."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.helpers import TINY, composed, hydra_context, script
from tracer_lightning.commands.cli import task
from tracer_lightning.commands.train import run

ROOT = Path(__file__).parent.parent.parent
METHODS = (
    "car_ft, carot, flyp, ft, l2_sp, lipsum_ft, lp, lp_ft, sd_ema, sd_wma, sft, sft_ema, sft_static, sft_wma, "
    "static_sd, tracer, tracer_algorithm_1, tracer_ema, tracer_orthogonal, tracer_plain, zs"
)


def train(*overrides, cwd, **environment):
    """Run train.py as a user does."""
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *overrides],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )


COMPOSITION_MISTAKES = [
    (
        "method=traser",
        f"error: method=traser: there is no such method; choose one of {METHODS}\n",
    ),
    ("experiment=[]", "name is not set; choose an experiment="),
    ("experiment=vit", "experiment=vit: there is no such experiment; choose one of cifar10"),
    (
        "experiment=continual",
        "experiment=continual: there is no such experiment; choose one of continual_digits, continual_pacs, "
        "continual_questions\n",
    ),
    ("optimiser.lr=1", "optimiser.lr: there is no such setting; did you mean optimizer.lr?"),
    ("experimnt=digits", "experimnt: there is no such setting; did you mean experiment?"),
    ("data.batchsize=1", "data.batchsize: there is no such setting"),
    ("distill_losses=[nope]", "distill_losses=nope: there is no such distill_losses"),
    ("optimizer.lr=[1", "optimizer.lr=[1: not of the form key=value"),
    ("+data.folders={flöwers:a}", "not of the form key=value; write names before = and : in ASCII and without quotes"),
    ("optimizer.betas=[0.9,\n  0.98]", "0.98]: not of the form key=value; write it on one line"),
]
LEFT_TO_SLOW = ("experiment=vit", "experiment=continual", "optimiser.lr=1", "distill_losses=[nope]")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        pytest.param(*mistake, marks=[pytest.mark.slow] * (mistake[0] in LEFT_TO_SLOW), id=mistake[0])
        for mistake in COMPOSITION_MISTAKES
    ],
)
def test_mistakes_in_composition(tmp_path, monkeypatch, override, message):
    monkeypatch.chdir(tmp_path)
    status, _, stderr = script("train", override)
    assert status == 1
    assert stderr.startswith("error: ")
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


MISTAKES = [
    (["suite=pacs"], "error: suite names test sets of shards, and these data have their own"),
    (["distill_losses.fd.weight=-1"], "distill_losses.fd.weight must be a number >= 0, found -1"),
    (["method.strength=-0.5"], "method.strength must be a number >= 0, found -0.5"),
    (
        ["regularizers.cross_frobenius.weight=many"],
        "regularizers.cross_frobenius.weight must be a number >= 0, found 'many'",
    ),
    (["data.batch_size=5000"], "data: batch_size=5000 is larger than the training set of 1078 samples"),
    (["kernel.beta=0"], "error: kernel: beta must be a finite number > 0, found 0"),
    (["kernel=exponential", "kernel.rate=1e4"], "error: kernel: rate must lie in [-700, 700]"),
    (["kernel=polynomial", "kernel.power=-1"], "error: kernel: power must be a finite number >= 0, found -1"),
    (["kernel.alpha=0"], "error: kernel: alpha must be a finite number > 0, found 0"),
    (
        ["kernel=uniform", "kernel._target_=math.log", "+kernel._partial_=true"],
        "error: kernel must give finite weig",
    ),
    (
        ["kernel=uniform", "kernel._target_=mine.kernel"],
        "kernel._target_=mine.kernel is not found: ModuleNotFoundErr",
    ),
    (["teacher=none"], "method: the terms fd, crd, icl, cross_kd compare the student with a teacher"),
    (["teacher=ema", "teacher.module.momentum=2"], "teacher.module: momentum must lie in [0, 1], found 2"),
    (["teacher.every_n_steps=0"], "teacher.every_n_steps must be a whole number >= 1, found 0"),
    (
        ["positives=all"],
        "positives must be of type Literal['diagonal', 'same_label'], found 'all'",
    ),
    (["data.train_styles=[neon]"], "data: train_styles must name some of"),
    (["method.freeze=[vision.*]"], "method.freeze: patterns: 'vision.*' matches no parameter"),
    (["scheduler.warmup_steps=-1"], "scheduler: warmup_steps must be a whole number >= 0, found -1"),
    (["optimizer.lr=-1"], "optimizer: Invalid learning rate: -1"),
    (["optimizer.lr=1e400"], "optimizer.lr must be finite, found inf"),
    (["optimizer.lr=fast"], "optimizer.lr must be of type float"),
    (["data.batch_size=abc"], "data.batch_size must be of type int, found 'abc'"),
    (["data.batch_size=2.5"], "data.batch_size must be of type int, found 2.5"),
    (["teacher.every_n_steps=1.5"], "teacher.every_n_steps must be a whole number >= 1, found 1.5"),
    (["trainer.max_epochs=x"], "trainer.max_epochs must be of type"),
    (["scheduler.warmup_steps=abc"], "scheduler.warmup_steps must be of type int | None, found 'abc'"),
    (["method.strength=x"], "method.strength must be a number >= 0, found 'x'"),
    (["trainer.devices=0"], "trainer: `Trainer(devices=0)` value is not a valid input"),
    (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val must be a number >= 0, found -1"),
    (["callbacks=clip_schedule"], "trainer.gradient_clip_val=1.0 is a second norm to clip gradients to"),
    (["trainer.log_every_n_steps=0"], "trainer.log_every_n_steps must be a whole number >= 1, found 0"),
    (["trainer.check_val_every_n_epoch=0"], "trainer.check_val_every_n_epoch must be a whole number >= 1, found 0"),
    (["trainer.plugins=abc"], "trainer.plugins must be a list of what has a _target_, found 'abc'"),
    (["compute.micro_batch=0"], "compute: micro_batch must be an integer >= 1 or None, got 0"),
    (["teacher.precision=fp4"], "teacher.precision must be of type Literal['same', 'bf16'], found 'fp4'"),
    (["backbone.embed_dim=-3"], "backbone: "),
    (["init_weights=gone.ckpt"], "init_weights=gone.ckpt: no such file"),
    (["resume=gone.ckpt"], "resume: no checkpoint at gone.ckpt"),
    (["trainer.precision=12-bit"], "trainer.precision must be of type"),
    (["trainer.accelerator=gpux"], "trainer: "),
    (["+kernel.betta=1"], "kernel.betta is not an argument of kernel._target_; remove it"),
    (["seed=-1"], "seed must be a whole number >= 0 and <= 4294967295, found -1"),
    (["seed=1.5"], "seed must be a whole number >= 0 and <= 4294967295, found 1.5"),
    (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches must be a whole number >= 1, found 0"),
    (["trainer.max_epochs=0"], "trainer.max_epochs=0 trains nothing"),
    (["backbone.embed_dim=0"], "backbone: embed_dim must be >= 1 and <= 1000000, got 0"),
    (["resume=true"], "resume must be a path or null, found True"),
    ([f"resume={ROOT / 'README.md'}"], "not a file of plain weights"),
    (["prerequisite=nope"], "prerequisite must be null or have experiment and overrides, found 'nope'"),
    (["method.freeze=visual"], "method.freeze: patterns must be a list, got 'visual'; write [visual]"),
    (["data.train_styles=plain"], "must be a list, got 'plain'"),
    (["data=image_folder"], "data.root is not set and has no default; give it as data.root=VALUE"),
    (["distill_losses.fd.weight=nan"], "distill_losses.fd.weight must be a number >= 0, found nan"),
    (["method.strength=true"], "method.strength must be a number >= 0, found True"),
    (["trainer.max_epochs=-1"], "trainer.max_epochs=-1 without trainer.max_steps gives no number of optimizer"),
    (["trainer.max_epochs=null"], "trainer.max_epochs=null without trainer.max_steps gives no number of opt"),
    (["head=zero_shot"], "method: the model has a head, but no loss reads its logits; remove the head"),
    (["method=ft", "head=none"], "method.train: parts must not include head, since the model has none; leave"),
    (
        ["method=ft", "head=none", "method.train=[image]"],
        "method: a loss reads the logits of a head, but the model has none",
    ),
    (
        ["distill_losses=[fd,anchor_kl]"],
        "method: the terms anchor_kl compare images with anchor texts, but there are none",
    ),
    (
        ["method=car_ft", "teacher=none"],
        "method: the terms anchor_kl compare the student with a teacher, but there is none",
    ),
    (
        ["method=ft", "method.train=[text]"],
        "method: the text tower can't be trained, because no loss reads text features",
    ),
    (
        ["method=lipsum_ft", "method.train=[scale]"],
        "method: the logit scale can't be trained, because no loss reads it",
    ),
    (
        ["method=ft", "method.train=[sound]"],
        "method.train: parts must be a list of some of image, text, scale, head",
    ),
    (["method=ft", "method.train=image"], "method.train: parts must be a list of some of image, text, scale, head"),
    (["method=ft", "head=kept"], "head.module: model must have a head to keep, but its weights have none"),
    (
        ["method=lp", "head.module.inverse_strength=0"],
        "head.module: inverse_strength must be > 0 and iterations >= 1",
    ),
    (["recipe=flyp_paper"], "data.augmentation is not an argument of data._target_; remove it"),
    (["method=lp", "head.module.iterations=many"], "head.module.iterations must be of type int, found 'many'"),
    (["method=lipsum_ft", "anchors.module.length=15"], "anchors.module: length must be from 1 to 14"),
    (["method=lipsum_ft", "anchors.module.count=0"], "anchors.module: count must be >= 1, found 0"),
    (
        ["distill_losses.fd.term={_target_:pathlib.Path}"],
        "distill_losses.fd.term._target_ must make a Term, found PosixPath",
    ),
    (["backbone={_target_:pathlib.Path}"], "backbone._target_ must make a Backbone, found PosixPath"),
    (["data={_target_:builtins.dict}"], "data._target_ must make a DataModule, found dict"),
    (["trainer={_target_:builtins.dict}"], "trainer._target_ must make a Trainer, found dict"),
    (["+callbacks.x={_target_:os.getcwd}"], "callbacks.x._target_ must make a Callback, found str"),
    (["+logger.x={_target_:os.getcwd}"], "logger.x._target_ must make a Logger, found str"),
    (["trainer.overfit_batches=0.1"], "trainer.overfit_batches=0.1 of 4 batches is less than one, for the train"),
    (["trainer.overfit_batches=0.5"], "trainer.overfit_batches=0.5 of 1 batches is less than one, for the valid"),
    (["trainer.limit_test_batches=0.01"], "trainer.limit_test_batches=0.01 of 2 batches is less than one, for the"),
    (["trainer.limit_train_batches=0"], "error: trainer.limit_train_batches=0 trains nothing; give at least 1"),
    (["trainer.limit_train_batches=0.0"], "error: trainer.limit_train_batches=0.0 trains nothing"),
    (["trainer.limit_test_batches=0"], "error: trainer.limit_test_batches=0 tests nothing; give at least 1"),
    (["+trainer.limit_predict_batches=0"], "error: trainer.limit_predict_batches=0 extracts no features"),
    (["+trainer.val_check_interval=0"], "error: trainer.val_check_interval=0 never validates"),
    (["+trainer.max_time=00:00:00:00"], "error: trainer.max_time=00:00:00:00 trains nothing"),
    (["+trainer.max_time={hours:0}"], "error: trainer.max_time={'hours': 0} trains nothing"),
    (["trainer.max_steps=0"], "error: trainer.max_steps=0 trains nothing; give at least 1, or -1"),
    (
        ["trainer.limit_val_batches=0", "optimized_metric=ece"],
        "optimized_metric=ece: trainer.limit_val_batches=0 leaves no",
    ),
]
QUICK = (
    "distill_losses.fd.weight=-1", "teacher=none", "optimizer.lr=fast", "resume=gone.ckpt", "data=image_folder",
    "trainer={_target_:builtins.dict}", "trainer.max_steps=0",
)  # fmt: skip
"""Last overrides of the mistakes that aren't left to the slow tests, some of each kind."""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(*mistake, marks=[pytest.mark.slow] * (mistake[0][-1] not in QUICK), id=" ".join(mistake[0]))
        for mistake in MISTAKES
    ],
)
def test_mistakes_in_values(tmp_path, capsys, overrides, message):
    with hydra_context():
        cfg = composed(tmp_path, *overrides)
        with pytest.raises(SystemExit) as stop:
            task(cfg, user_wants_traceback=False, job=run)
    assert stop.value.code == 1
    assert "HYDRA_FULL_ERROR" not in os.environ
    line = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(line) == 1
    assert message in line[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=-1", "optimizer: Invalid learning rate"),
        ("scheduler.warmup_steps=-1", "scheduler: warmup_steps must be"),
        ("trainer.max_epochs=-1", "trainer.max_epochs=-1 without trainer.max_steps"),
        ("seed=4294967296", "seed must be a whole number >= 0 and <= 4294967295"),
    ],
)
def test_mistakes_in_training_show_before_an_evaluation(tmp_path, capsys, override, message):
    with hydra_context():
        cfg = composed(tmp_path, override)
        with pytest.raises(ValueError, match=message):
            run(cfg)
    assert "digits: method" not in capsys.readouterr().out


def test_tracebacks_are_available(tmp_path):
    result = train("method=traser", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    with hydra_context():
        cfg = composed(tmp_path, "kernel.beta=0")
        with pytest.raises(ValueError, match="beta must be"):
            task(cfg, user_wants_traceback=True, job=run)


def test_help_helps_at_once(tmp_path):
    result = train("--help", cwd=tmp_path)
    assert result.returncode == 0
    for text in ("resume=auto", "results.json", "-m method=flyp,tracer"):
        assert text in result.stdout
    lines = result.stdout.splitlines()
    assert len(lines) < 60
    groups = [line for line in lines if re.match(r"  \w+( \(.*\))?: ", line)]
    assert f"  method (trained parts, head, teacher and losses together): {METHODS} [tracer]" in groups
    assert all(" (" in line for line in groups), "a group of conf/train.yaml has no comment that says what it chooses"
    assert re.search(r"^  seed=0 +seed of initial weights, data order and captions$", result.stdout, re.MULTILINE)
    assert any(line.startswith("  resume=null    ") and "checkpoint to continue" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "groups", "setting"),
    [
        (
            "merge",
            ["merge", "backbone", "peft", "embedder", "suite", "evaluation", "data", "trainer"],
            "  model=student  ",
        ),
        ("export", ["backbone", "peft", "embedder"], "  private=true  "),
        ("kernels", ["kernel"], "  steps=25000  "),
    ],
)
def test_help_lists_the_groups_of_its_command(tmp_path, monkeypatch, command, groups, setting):
    monkeypatch.chdir(tmp_path)
    status, stdout, stderr = script(command, "--help")
    assert status == 0, stderr
    listed = [match[1] for match in map(re.compile(r"  (\w+) \(.+?\): ").match, stdout.splitlines()) if match]
    assert listed == groups
    assert setting in stdout
    assert "_target_" not in stdout


@pytest.mark.slow
def test_help_does_not_depend_on_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, stdout, _ = script("merge", "wise_ft", "checkpoint=missing", "alpha=0,1", "--help")
    assert (status, stdout) == (0, script("merge", "--help")[1])


@pytest.mark.slow
def test_help_lists_options_of_the_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own/kernel").mkdir(parents=True)
    (tmp_path / "own/kernel/mine.yaml").touch()
    _, stdout, _ = script("kernels", "--help", "--config-dir", "own")
    assert "beta, exponential, mine, polynomial" in stdout


@pytest.mark.slow
def test_help_with_another_template_lists_all_groups(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    template = "hydra.help.template='GROUPS\n$APP_CONFIG_GROUPS$HYDRA_CONFIG_GROUPS'"
    status, stdout, stderr = script("kernels", "--help", template)
    assert status == 0, stderr
    assert "method: car_ft, " in stdout
    assert "hydra/launcher: basic" in stdout


@pytest.mark.slow
def test_a_failing_job_does_not_end_the_sweep(tmp_path):
    result = train("-m", "kernel.beta=-1,0.5", "run=sweep", *TINY, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == "error: job 0 (kernel.beta=-1): kernel: beta must be a finite number > 0, found -1\n"
    assert (tmp_path / "outputs/digits/sweep/1-tracer-seed0/results.json").exists()


@pytest.mark.slow
def test_a_mistake_in_a_loading_process_is_one_line(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            (tmp_path / "pets" / split / name / "0.jpg").write_bytes(b"no image")
    result = train(
        *("data=image_folder", "data.root=pets", "data.num_workers=1", "data.batch_size=2", "run=x"),
        *[option for option in TINY if not option.startswith("data.")],
        "data.held_out.fraction=0",
        cwd=tmp_path,
    )
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert len(errors[0].replace(str(tmp_path), "")) < 200
    assert f"16 images in a row can't be read, the first {tmp_path}/pets/train" in errors[0]
