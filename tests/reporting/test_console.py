"""The console of tables and messages."""

import warnings

import hydra
from rich.table import Table

from tracer_lightning.reporting import console
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


def test_warnings_of_this_package_and_of_what_hydra_makes_are_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # restored after the test
    console.one_line_warnings()
    for file in (console.__file__, hydra.__file__, "/usr/lib/python3/dist-packages/hydra/_internal/utils.py"):
        assert warnings.formatwarning("no decay", UserWarning, file, 3) == "warning: no decay\n"
    assert "dataloader.py:3: UserWarning: slow" in warnings.formatwarning("slow", UserWarning, "dataloader.py", 3, "")
