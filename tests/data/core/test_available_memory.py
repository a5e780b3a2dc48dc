"""Memory that a process may still use, from files like those of Linux."""

import pytest

from tracer_lightning.data.core import available_memory
from tracer_lightning.data.core.available_memory import available_memory as measure
from tracer_lightning.data.core.available_memory import total_memory


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine with 8 GiB available, and a process in the group job/step."""
    monkeypatch.setattr(available_memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(available_memory, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(available_memory, "CGROUPS", tmp_path / "groups")
    (tmp_path / "meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\nHugePages_Total:   0\n")
    (tmp_path / "cgroup").write_text("1:cpu:/old\n0::/job/step\n")
    return tmp_path


def limit(folder, maximum, current, cached):
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text(f"{maximum}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


def test_without_a_limit_the_machines_memory_counts(system):
    assert measure() == 8 << 30
    limit(system / "groups/job/step", "max", 1 << 30, 0)
    assert measure() == 8 << 30


def test_the_smallest_limit_of_the_process_and_its_parents_counts(system):
    limit(system / "groups/job/step", 6 << 30, 1 << 30, 1 << 20)
    assert measure() == (5 << 30) + (1 << 20)
    limit_of_job = system / "groups/job"
    for name, text in (("max", 2 << 30), ("current", 3 << 30), ("stat", "inactive_file 0")):
        (limit_of_job / f"memory.{name}").write_text(f"{text}\n")
    assert measure() == 0


def test_the_total_does_not_depend_on_what_is_used(system):
    assert total_memory() == 16 << 30
    limit(system / "groups/job/step", 6 << 30, 1 << 30, 1 << 20)
    assert total_memory() == 6 << 30


def test_unknown_systems_have_none(system):
    for name in ("meminfo", "cgroup"):
        (system / name).unlink()
    assert measure() is None
    assert total_memory() is None


def test_this_machine_has_some():
    assert measure() is None or measure() > 1 << 20
