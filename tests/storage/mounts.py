"""Temporary small file systems, where the machine allows to mount them."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def mounted(folder, size):
    """Mount a file system of ``size`` at ``folder``, and unmount it on exit."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount on this machine")
    if result.returncode:
        pytest.skip(f"a small file system can't be mounted here: {result.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def read_only(folder):
    """Make the file system read-only, also for root."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
