"""Memory that this process may use."""

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
    limits = [*_machine("MemAvailable"), *_groups(only_free=True)]
    return max(0, min(limits)) if limits else None


def total_memory() -> int | None:
    """Number of bytes of the machine, or of the container or SLURM job, whether or not they are free.

    Returns:
        None where the system does not say, as outside of Linux.
    """
    return min([*_machine("MemTotal"), *_groups(only_free=False)], default=None)


def _machine(field: str) -> list[int]:
    if not MEMINFO.exists():
        return []
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    return [int(fields[field].split()[0]) << 10]


def _groups(only_free: bool) -> list[int]:
    """Bytes, or those that are left, in each of the process's control groups that has a limit."""
    if not CGROUP.exists():
        return []
    names = [line.removeprefix(UNIFIED) for line in CGROUP.read_text().splitlines() if line.startswith(UNIFIED)]
    folders = [CGROUPS / parent for name in names for parent in (Path(name), *Path(name).parents)]
    limits = []
    for folder in dict.fromkeys(folders):
        limit = folder / "memory.max"
        if limit.exists() and (text := limit.read_text().strip()) != "max":
            if not only_free:
                limits.append(int(text))
                continue
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            cached = int(statistics["inactive_file"])  # files that the system drops when memory is needed
            limits.append(int(text) - int((folder / "memory.current").read_text()) + cached)
    return limits
