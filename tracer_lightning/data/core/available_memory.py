"""Memory that this process may still use."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
UNIFIED = "0::/"
"""Prefix of a process's group in the unified hierarchy (cgroup v2)."""


def available_memory() -> int | None:
    """Number of bytes that can be allocated without swapping, within the limits of containers and SLURM jobs.

    Returns:
        None where the system does not say, as outside of Linux.
    """
    limits = [*_machine(), *_groups()]
    return max(0, min(limits)) if limits else None


def _machine() -> list[int]:
    if not MEMINFO.exists():
        return []
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    return [int(fields["MemAvailable"].split()[0]) << 10]


def _groups() -> list[int]:
    """Bytes left in each of the process's control groups that has a limit."""
    if not CGROUP.exists():
        return []
    names = [line.removeprefix(UNIFIED) for line in CGROUP.read_text().splitlines() if line.startswith(UNIFIED)]
    folders = [CGROUPS / parent for name in names for parent in (Path(name), *Path(name).parents)]
    limits = []
    for folder in dict.fromkeys(folders):
        limit = folder / "memory.max"
        if limit.exists() and (text := limit.read_text().strip()) != "max":
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            cached = int(statistics["inactive_file"])  # files that the system drops when memory is needed
            limits.append(int(text) - int((folder / "memory.current").read_text()) + cached)
    return limits
