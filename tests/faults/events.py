"""Commands that write files, killed at each change of a file, one change after the other."""

import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.commands.helpers import make_shards
from tests.comparing import without_times
from tests.faults.children import in_a_child
from tests.fuzzing.running import ENTRIES, attempt, entry
from tracer_lightning.commands import export, merge  # noqa: F401 (else each child imports them)

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "fsync")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Command(NamedTuple):
    """A command line in the current folder."""

    script: str
    arguments: tuple[str, ...]
    made: str = ""
    """Folder that it makes as a whole, and won't make twice."""

    def __call__(self):
        """Run it to its end."""
        if self.script == "scripts/make_shards.py":
            status = make_shards(self.arguments)
            assert status == 0, f"status {status}"
        else:
            outcome = attempt(entry(self.script), self.arguments, **ENTRIES[self.script])
            assert outcome.verdict == "ran", outcome


def commands(run, images):
    """What is killed: by name.

    Args:
        run: folder of a finished run.
        images: folder for images, which are made.
    """
    for label, name in enumerate(("cat", "dog")):
        (images / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.full((8, 8, 3), 40 * number + label, np.uint8)).save(images / name / f"{number}.png")
    about = (f"checkpoint={run}", f"start={run}", "model=teacher", "alpha=0.5", "out=out")
    quick = ("run=merged", "hydra.output_subdir=null", "trainer.limit_test_batches=1")
    return {
        "make_shards": Command("scripts/make_shards.py", ("folder", str(images), "--out", "out", "--max-samples", "2")),
        "export": Command("scripts/export.py", (f"checkpoint={run}", "out=exports/mine"), "exports/mine"),
        "merge": Command("scripts/merge.py", ("wise_ft", *about, *quick), "out"),
    }


def kill_before(number, folder):
    """Have this process kill itself before its change of so high a number of a file in the folder."""
    left = itertools.count(1 - number)

    def changed(name, arguments):
        opened = name == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if not opened and name not in CHANGES:
            return
        path = folder if isinstance(arguments[0], int) else Path(os.path.abspath(os.fsdecode(arguments[0])))  # noqa: PTH100
        if path.is_relative_to(folder) and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(changed)
    fsync = os.fsync

    def counted(descriptor):  # which has no event of its own
        changed("fsync", (descriptor,))
        fsync(descriptor)

    os.fsync = counted


def attempted(command, folder, log, number=None):
    """Run it in the folder and, if given, kill it before the change of that number; whether it was killed."""

    def work():
        os.chdir(folder)
        if number is not None:
            kill_before(number, folder)
        command()

    return in_a_child(work, log) == signal.SIGKILL


def contents(folder):
    """All that is below the folder, but for Hydra's own files, logs, and the times that it took."""
    entries = {}
    for path in folder.rglob("*"):
        if ".hydra" not in path.parts and path.suffix != ".log":
            content = path.read_bytes() if path.is_file() else "folder"
            if path.suffix == ".json":
                content = without_times(json.loads(content))
            entries[str(path.relative_to(folder))] = content
    return entries


def killed_at_changes(command, out, log, every=1):
    """Kill it before a change of a file, then before a later one and so on, and run it again each time.

    Returns:
        The number of kills, and what differs from an unbroken one, by the number of the kill.
    """
    unbroken = out / "unbroken"
    unbroken.mkdir(parents=True)
    assert not attempted(command, unbroken, log)
    expected = contents(unbroken)
    wrong = {}
    kills, killed, folder = 0, True, out / "killed"
    while killed:
        number = 1 + kills * every
        folder.mkdir()
        killed = attempted(command, folder, log, number)
        kills += killed
        if not (command.made and (folder / command.made).exists()):
            attempted(command, folder, log)
        actual = contents(folder)
        if different := [name for name in {**expected, **actual} if expected.get(name) != actual.get(name)]:
            wrong[number] = sorted(different)
        shutil.rmtree(folder)
    return kills, wrong
