"""The tables of measured digits are those of one file of results."""

import importlib.util
import itertools
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


@pytest.mark.parametrize("page", ["docs/demo.md", "docs/methods.md"])
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


def rows_below(path, title):
    """Cells by first cell of the table whose header has the title."""
    lines = path.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|") and f"| {title} |" in line)
    table = list(itertools.takewhile(lambda line: line.startswith("|"), lines[start:]))
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


def test_the_recipes_have_the_numbers_of_the_evidence():
    evidence = rows_below(ROOT / "docs/evidence.md", "CIFAR-10")
    evidence = {name.replace(", lr 3e-3", ""): cells for name, cells in evidence.items()}  # README has this rate alone
    recipes = rows_below(ROOT / "README.md", "CIFAR-10")
    assert len(recipes) > 8
    for name, cells in recipes.items():
        assert cells == {title: evidence[name][title].partition(" ±")[0] for title in cells}, name
