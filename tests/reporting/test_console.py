"""The console of tables and messages."""

from rich.table import Table

from tracer_lightning.reporting.console import PlainConsole


def test_a_log_has_whole_tables(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    names = [f"column_{letter}" for letter in "abcdefghijkl"]
    table = Table(*names)
    table.add_row(*names)
    PlainConsole().print(table)
    text = capsys.readouterr().out
    assert "…" not in text
    assert all(text.count(name) == 2 for name in names)


def test_the_width_that_the_user_asks_for_is_kept(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert PlainConsole().width == 60
