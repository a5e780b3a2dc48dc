import csv
import io
import re
from itertools import pairwise

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from tests.reporting.run_folders import OOD, imagenet_run, scores, write_run
from tests.reporting.test_comparison import comparison
from tracer_lightning.reporting.comparison import select_results
from tracer_lightning.reporting.formats import latex, markdown, raw, terminal
from tracer_lightning.reporting.tables import TableSection, blocks, notes


def tables(result, sets=None, metrics=None):
    shown = select_results(result, sets, metrics)
    return TableSection(blocks(result, shown), notes(result, shown))


def lines(result, sets=None, metrics=None):
    """Cells of every line of the Markdown tables, and the notes."""
    text = markdown([tables(result, sets, metrics)])
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return rows, text


@pytest.fixture
def sweep(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"low{seed}", scores(0.90 + seed / 50, 0.8), seed=seed, beta=0.2)
    write_run(tmp_path / "high", scores(0.95, 0.7), beta=0.7)
    return tmp_path


@pytest.fixture
def kernels(tmp_path):
    for number, (beta, accuracy) in enumerate([(0.5, 0.83), (0.2, 0.82)]):
        for seed, step in enumerate((-0.01, 0.01)):
            imagenet_run(tmp_path / f"{number}-{seed}", accuracy + step, 0.64, beta=beta, seed=seed)
    return tmp_path


def test_markdown(sweep):
    rows, text = lines(comparison(sweep))
    assert text.startswith("**digits, method=tracer**\n\n| setting | n | mine accuracy |")
    assert rows[0] == ["setting", "n", "mine accuracy", "mine ECE", "avg_ood accuracy", "avg_ood ECE"]
    assert rows[2] == ["zero-shot", "", "50.0", "5.0", "40.0", "10.0"]
    assert rows[3] == ["kernel.beta=0.2", "2", "91.0 ± 1.4", "5.0 ± 0.0", "80.0 ± 0.0", "10.0 ± 0.0"]
    assert rows[4] == ["kernel.beta=0.7", "1", "95.0", "5.0", "70.0", "10.0"]
    assert "Published" not in text


def test_a_reader_of_markdown_finds_the_tables(sweep):
    _, text = lines(comparison(sweep))
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert [token.type for token in tokens].count("table_open") == text.count("**digits")
    cells = [token.content for before, token in pairwise(tokens) if before.type == "td_open"]
    assert cells[:4] == ["zero-shot", "", "50.0", "5.0"]


def test_published_values_stand_beside_with_differences(kernels):
    rows, text = lines(comparison(kernels), metrics=["accuracy"])
    assert rows[0][2:5] == ["imagenet measured", "imagenet published", "imagenet diff."]
    assert rows[2] == ["zero-shot", "", "68.00", "68.33", "−0.33", "58.00", "58.39", "−0.39"]
    assert rows[3] == ["kernel.beta=0.2", "2", "82.00 ± 1.41", "81.91", "+0.09", "64.00 ± 0.00", "64.22", "−0.22"]
    assert rows[4] == ["kernel.beta=0.5", "2", "83.00 ± 1.41", "82.76", "+0.24", "64.00 ± 0.00", "64.07", "−0.07"]
    assert "Table 1, 11" not in text
    assert "Published: Tables 1, 11 of arXiv:2605.29380" in text
    assert "†" not in text


def test_the_published_ece_is_marked_as_another_measure(kernels):
    rows, text = lines(comparison(kernels), sets=["imagenet"], metrics=["ece"])
    assert rows[3] == ["kernel.beta=0.2", "2", "5.00 ± 0.00", "5.48†", "−0.48†"]
    assert "† The published ECE is the mean of the ECEs of batches" in text


def test_where_it_was_measured_the_ece_per_batch_is_compared(tmp_path):
    imagenet_run(tmp_path / "run", 0.83, 0.64, ece=0.03, per_batch=0.05)
    rows, text = lines(comparison(tmp_path), sets=["imagenet"])
    assert [row[2:] for row in rows if row[0] == "method=tracer"] == [
        ["83.00", "82.76", "+0.24"], ["3.00"], ["5.00", "4.50", "+0.50"],
    ]  # fmt: skip
    assert "†" not in text
    assert "ECE per batch" in text


def test_a_main_run_of_the_paper_against_table_1(tmp_path):
    imagenet_run(tmp_path / "tracer", 0.8276, 0.6407)
    imagenet_run(tmp_path / "flyp", 0.8272, 0.5945, method="flyp", terms=[], teacher="No")
    rows, text = lines(comparison(tmp_path), metrics=["accuracy"])
    assert [row[4] for row in rows[3:]] == ["+0.00", "+0.00"]
    assert "Published: Table 1 of" in text


def test_the_average_is_that_of_the_same_sets(tmp_path):
    imagenet_run(tmp_path / "four", 0.83, 0.64, names=("imagenet", *OOD[:4]))
    rows, text = lines(comparison(tmp_path), sets=["avg_ood"], metrics=["accuracy"])
    assert rows[-1] == ["method=tracer", "1", "64.00", "65.46", "−1.46"]
    assert "Table 2 of" in text


def test_the_clock_of_the_paper_is_noted(tmp_path):
    imagenet_run(tmp_path / "rare", 0.83, 0.64, every=10)
    _, text = lines(comparison(tmp_path))
    assert "Table 10 was published from runs whose kernel's clock counts updates" in text


def test_teachers_are_named_beside_students(tmp_path):
    write_run(tmp_path / "run", scores(0.9, 0.8), scores(0.8, 0.7))
    rows, _ = lines(comparison(tmp_path, "all"))
    assert [row[0] for row in rows[2:]] == ["zero-shot", "method=tracer (student)", "method=tracer (teacher)"]


def test_missing_values_are_dashes(tmp_path):
    write_run(tmp_path / "one", scores(0.9, 0.8))
    write_run(tmp_path / "two", scores(0.9, 0.8, names=("elsewhere", "other")), beta=0.2)
    rows, _ = lines(comparison(tmp_path), metrics=["accuracy"])
    assert [row[2:] for row in rows[-2:]] == [["–", "80.0", "90.0"], ["90.0", "80.0", "–"]]


def test_latex(kernels):
    text = latex([tables(comparison(kernels), metrics=["accuracy"])])
    assert r"\multicolumn{3}{c}{imagenet} & \multicolumn{3}{c}{avg\_ood} \\" in text
    assert r"\cmidrule(lr){3-5} \cmidrule(lr){6-8}" in text
    assert r"kernel.beta=0.2 & 2 & 82.00 $\pm$ 1.41 & 81.91 & +0.09 & 64.00 $\pm$ 0.00 & 64.22 & $-$0.22 \\" in text
    assert text.count("{") == text.count("}")
    columns = len(re.search(r"tabular}{(\w+)}", text)[1])
    assert {line.count(" & ") + 1 for line in text.splitlines() if line.endswith(r"\\") and "multicol" not in line} == {
        columns
    }


def test_csv_keeps_everything_unrounded(kernels):
    rows = list(csv.DictReader(io.StringIO(raw(comparison(kernels)))))
    assert len(rows) == 3 * 7 * 3 + 2 * 3  # models, sets with the mean, metrics; two rows' gains and forgetting
    result = next(
        r for r in rows if (r["setting"], r["data_set"], r["metric"]) == ("kernel.beta=0.2", "imagenet", "accuracy")
    )
    assert float(result["mean"]) == pytest.approx(0.82, abs=1e-12)
    assert float(result["std"]) == pytest.approx(0.02 / 2**0.5, abs=1e-12)
    assert float(result["difference"]) == pytest.approx(0.82 - 0.8191, abs=1e-12)
    assert (result["kernel.beta"], result["n"], result["seeds"]) == ("0.2", "2", "0 1")
    assert (result["model"], result["published_table"]) == ("student", "11")
    alone = rows[0]
    assert (alone["setting"], alone["model"], alone["n"], alone["std"]) == ("zero-shot", "zero_shot", "", "")


def test_the_terminal_shows_what_fits(kernels):
    console = Console(width=100, file=io.StringIO())
    result = comparison(kernels)
    full, _ = tables(result)
    assert [len(list(terminal(console, block))) for block in full] == [1, 1]
    for block in tables(result, ["all"], ["accuracy"])[0]:
        for table in terminal(console, block):
            console.print(table)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    assert all(name in text for name in ("imagenet-sketch", "objectnet", "avg_ood"))
    assert "…" not in text
    assert text.count("kernel.beta=0.5") == 4


def test_brackets_in_settings_are_text(tmp_path):
    for number, styles in enumerate((["bold"], ["red", "/x"])):
        write_run(tmp_path / str(number), scores(0.9, 0.8), **{"data.train_styles": styles})
    console = Console(width=100, file=io.StringIO())
    for block in tables(comparison(tmp_path))[0]:
        console.print(*terminal(console, block))
    assert 'data.train_styles=["red", "/x"]' in console.file.getvalue()
