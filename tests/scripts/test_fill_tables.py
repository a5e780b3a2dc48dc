"""The tables of measured digits are those of one file of results."""

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("fill_tables", ROOT / "scripts/fill_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pages(tmp_path, script, monkeypatch):
    """A copy of the pages and their results."""
    for name in (script.RESULTS, *(table.page for table in script.TABLES)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    return tmp_path


def test_the_pages_have_the_results(script):
    assert script.main(["--check"]) == 0


@pytest.mark.parametrize("page", ["README.md", "docs/methods.md"])
def test_another_number_is_found_and_written_over(script, pages, capsys, page):
    right = (pages / page).read_text()
    line = next(line for line in right.partition("<!-- table -->")[2].splitlines() if "±" in line)
    (pages / page).write_text(right.replace(line, line.replace("±", "+", 1)))
    assert script.main(["--check"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {page} has other numbers than docs/results/digits.csv")
    assert script.main([]) == 0
    assert (pages / page).read_text() == right


def test_a_method_without_results_is_named(script, pages, capsys):
    results = pages / script.RESULTS
    results.write_text(
        "".join(line for line in results.open() if ",tracer_ema," not in line and "tracer_ema," not in line)
    )
    assert script.main([]) == 1
    assert "lacks ('spurious', 'accuracy') of tracer_ema student" in capsys.readouterr().err
