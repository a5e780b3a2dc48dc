"""Progress bars in logs."""

import sys

from tracer_lightning.data.core import progress
from tracer_lightning.data.core.progress import progress_bar


def test_a_log_has_few_lines(monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    assert list(progress_bar(range(100_000), desc="counting")) == list(range(100_000))
    assert capsys.readouterr().err.count("counting") <= 2


def test_a_terminal_has_many(monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(progress, "TERMINAL_INTERVAL", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert len(list(progress_bar(range(100), desc="counting", miniters=1))) == 100
    assert capsys.readouterr().err.count("counting") > 10
