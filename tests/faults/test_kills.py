"""Killed at random moments, a run ends bit for bit as one that was not."""

import json
import subprocess
import sys

import pytest

from tests.faults.processes import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "commands"), [(3, 0), pytest.param(20, 1, marks=pytest.mark.exhaustive)])
def test_kills_change_nothing(tmp_path, kills, commands):
    """In steps, checkpoints, evaluations, between epochs and in the prerequisite, and of the real command."""
    script = ROOT / "scripts/kill_campaign.py"
    options = ("--kills", str(kills), "--commands", str(commands), "--out", str(tmp_path / "out"))
    command = [sys.executable, str(script), *options]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    summary = json.loads((tmp_path / "out/campaign.json").read_text())
    assert summary["kills"] >= kills
    assert summary["different"] == []
    if kills >= 20:  # fewer may miss a phase, since a kill comes after a random delay
        phases = {phase.removesuffix(" of a sweep") for phase in summary["landed"]}
        assert phases >= {"step", "checkpoint", "evaluation", "between epochs", "prerequisite"}
        assert any("of a sweep" in phase for phase in summary["landed"])


@pytest.mark.slow
@pytest.mark.parametrize("every", [12, pytest.param(3, marks=pytest.mark.exhaustive)])
def test_commands_that_write_files_are_killed_at_their_changes(tmp_path, every):
    """Export, merge and make_shards: repeated, they end the same, and leave nothing half-written."""
    options = ("--files", "--every", str(every), "--out", str(tmp_path / "out"))
    command = [sys.executable, str(ROOT / "scripts/kill_campaign.py"), *options]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    summary = json.loads((tmp_path / "out/campaign.json").read_text())
    assert summary["different"] == []
    assert min(summary["landed"].values()) >= 12 // every
