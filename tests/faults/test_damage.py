"""Damaged and half-written files, full and read-only disks."""

from pathlib import Path

import pytest

from tests.commands.helpers import composed, hydra_context
from tests.comparing import differences, outcome
from tests.engine.test_run import prerequisite, run_until
from tests.faults.whole_runs import run
from tests.storage.killed import killed_while
from tests.storage.mounts import mounted, read_only
from tracer_lightning.commands import train as module
from tracer_lightning.commands.cli import task
from tracer_lightning.commands.train import prerequisite_checkpoint, train
from tracer_lightning.storage import atomic_file


@pytest.fixture(autouse=True)
def hydra():
    with hydra_context():
        yield


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


EVERY = "callbacks.checkpoint.every_n_train_steps=1"


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        pytest.param(flip, marks=pytest.mark.exhaustive),
        pytest.param(Path.unlink, marks=pytest.mark.exhaustive),
    ],
)
def test_the_checkpoint_before_a_damaged_one_is_in_force(tmp_path, capsys, damage):
    run(tmp_path / "whole")
    (tmp_path / "broken").mkdir()
    run_until(composed(tmp_path / "broken", EVERY), epochs=1)
    damage(tmp_path / "broken/run/checkpoints/last.ckpt")
    capsys.readouterr()
    run(tmp_path / "broken", "resume=auto")
    said = capsys.readouterr().out
    assert "last.ckpt is damaged or missing; the one before it is used" in said
    assert "previous.ckpt at step 5" in said
    assert not differences(outcome(tmp_path / "whole/run"), outcome(tmp_path / "broken/run"))


def test_a_folder_of_damaged_checkpoints_is_refused(tmp_path):
    checkpoints = tmp_path / "run/checkpoints"
    checkpoints.mkdir(parents=True)
    for name in ("last.ckpt", "previous.ckpt"):
        (checkpoints / name).write_bytes(b"half")
    with pytest.raises(ValueError, match=r"last\.ckpt and .*previous\.ckpt are damaged; delete the checkpoints"):
        run(tmp_path, "resume=auto")
    with pytest.raises(ValueError, match="holds a run already"):
        run(tmp_path)


@pytest.mark.slow
def test_what_a_kill_left_is_cleaned_up(tmp_path):
    checkpoints = tmp_path / "run/checkpoints"
    checkpoints.mkdir(parents=True)
    for written in (checkpoints / "next.ckpt", tmp_path / "run/report.html"):
        killed_while(atomic_file(written))
    (checkpoints / "next.ckpt").write_bytes(b"half")
    (tmp_path / "run/notes.tmp").write_text("a user's")
    (tmp_path / "run/folder.tmp").mkdir()
    run(tmp_path)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert not list((tmp_path / "run").glob(".tracer-partial-*"))
    assert (tmp_path / "run/notes.tmp").read_text() == "a user's"


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_good_checkpoint_and_says_so(tmp_path, capsys):
    with mounted(tmp_path / "disk", "60m") as disk:  # a checkpoint has 26 MB: two find room, the third does not
        with pytest.raises(SystemExit) as stop:
            task(composed(disk, "trainer.max_epochs=4"), False, train)
        assert stop.value.code == 1
        errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line.lower()]
        (line,) = errors
        assert line.startswith("error: step 12: the checkpoint can't be written ([Errno 28] No space left on device)")
        assert f"the last good checkpoint is {disk}/run/checkpoints/last.ckpt, of step 8" in line
        checkpoints = disk / "run/checkpoints"
        assert sorted(path.name for path in checkpoints.iterdir()) == ["last.ckpt", "previous.ckpt"]
        (tmp_path / "room").mkdir()
        resumed = run(tmp_path / "room", f"resume={disk}/run", "trainer.max_epochs=4")
    assert resumed["student"] == run(tmp_path / "whole", "trainer.max_epochs=4")["student"]


def test_a_full_disk_under_the_log_says_so_in_one_line(tmp_path, capsys):
    with mounted(tmp_path / "disk", "60m") as disk:
        (disk / "filler").write_bytes(b"x" * (60 * 2**20 - 3 * 4096))
        with pytest.raises(SystemExit) as stop:
            task(composed(disk), False, train)
        assert stop.value.code == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert "No space left on device" in line
        assert "there is no checkpoint yet" in line


def test_a_read_only_folder_fails_before_anything_is_trained(tmp_path):
    with mounted(tmp_path / "disk", "1m") as disk:
        (disk / "run").mkdir()
        cfg = composed(disk)
        read_only(disk)
        with pytest.raises(OSError, match="Read-only file system"):
            module.run(cfg)


@pytest.mark.slow
def test_a_cached_prerequisite_may_be_read_only(tmp_path):
    with mounted(tmp_path / "disk", "80m") as disk:
        first = prerequisite_checkpoint(prerequisite(disk, "min_accuracy=0.0"))
        cfg = prerequisite(disk, "min_accuracy=0.0")
        read_only(disk)
        assert prerequisite_checkpoint(cfg) == first
