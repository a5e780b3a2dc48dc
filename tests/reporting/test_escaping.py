"""Texts are escaped in all formats."""

import csv
import io
import re

import pytest
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from tests.reporting.run_folders import scores, write_run
from tests.reporting.test_comparison import comparison
from tests.reporting.test_formats import tables
from tracer_lightning.reporting.console import PlainConsole
from tracer_lightning.reporting.escaping import csv_text, latex, markdown, markdown_code, printable, without_formulas
from tracer_lightning.reporting.formats import latex as latex_tables
from tracer_lightning.reporting.formats import markdown as markdown_tables
from tracer_lightning.reporting.formats import raw
from tracer_lightning.reporting.style import style

FORMULAS = [
    *("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\ttab", "  =1", "=cmd|' /C calc'!A0"),
    *("＝1", "＋1", "－1", "＠1", "-2+3", "+", "-", "=", "-.", "--1", "-1e", '=HYPERLINK("http://x","y")'),
]


def read(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_spreadsheet_finds_no_formula(formula):
    ((cell, other, number),) = read(csv_text([[formula, f"a;{formula}", -0.5]]))
    assert cell.startswith("'")
    assert cell.replace("'", "") == formula.replace("'", "").replace("\r", "\n")
    assert not any(re.match(r"\s*[=+\-@]", part) for part in other.split(";"))
    assert number == "-0.5"


@pytest.mark.parametrize("plain", ["-0.5", "+3", "-1e-5", ".5", "1.", -1, -1.5, float("-inf"), None, True, "a=b, c-d"])
def test_numbers_and_other_texts_are_as_they_are(plain):
    assert read(csv_text([[plain, "x"]])) == [["" if plain is None else str(plain), "x"]]


def test_texts_of_several_lines_and_quotes_come_back():
    rows = [['say "x"', "a,b", "c\nd"], ["", "é", "'"]]
    assert read(csv_text(rows)) == rows


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", r"a \| b"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("&lt;", "&amp;lt;"),
        ("`code`", r"\`code\`"),
        ("*a* _b_ __c__ ~~d~~", r"\*a\* \_b\_ \_\_c\_\_ \~\~d\~\~"),
        ("![x](http://evil)", r"\!\[x\](http\://evil)"),
        ("www.evil.org", r"www\.evil.org"),
        ("# heading", r"\# heading"),
        ("a\n# b\n\n---\n", "a # b  --- "),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("===", r"\==="),
        ("---", r"\---"),
        ("\\| x", r"\\\| x"),
        ("$x$", r"\$x\$"),
        ("\x1b[31m\u202ex", r"\\x1b\[31m\\u202ex"),
        ("method=tracer, kernel.beta=0.2, terms=fd+cross_kd", "method=tracer, kernel.beta=0.2, terms=fd+cross_kd"),
        ("-0.5", "-0.5"),
        ("91.0 ± 1.4", "91.0 ± 1.4"),
    ],
)
def test_markdown_markup_is_escaped(text, shown):
    assert markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"), [("x", "`x`"), ("a`b``c", "```a`b``c```"), ("`x`", "`` `x` ``"), ("a\nb", "`a b`")]
)
def test_code_in_markdown_ends_where_it_should(text, shown):
    assert markdown_code(text) == shown


def test_latex_markup_is_escaped():
    assert latex(r"a_b & 5% #1 $x {y} ~ ^ \z") == (
        r"a\_b \& 5\% \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z"
    )
    assert latex("1 ± 2 −3 – †") == r"1 $\pm$ 2 $-$3 -- $^\dagger$"
    assert latex(r"\input{/etc/passwd}\write18{id}") == (
        r"\textbackslash{}input\{/etc/passwd\}\textbackslash{}write18\{id\}"
    )
    assert latex("[5cm]*\n\npar") == "{[}5cm{]}{*}  par"


EVIL = "=x|`<b>`\n# h\x1b[31m;@y \\input{z} $[!"


def test_tables_of_hostile_runs_have_as_many_cells_as_others(tmp_path):
    for number, value in enumerate((EVIL, "plain")):
        names = ("mine", EVIL)
        write_run(tmp_path / str(number), scores(0.9, 0.8, names=names), zero_shot=scores(0.5, 0.4, names=names),
                  **{"data.train_styles": value, "name": EVIL})  # fmt: skip
    result = comparison(tmp_path)
    sections = [tables(result, ["all"])]
    rows = [line for line in markdown_tables(sections).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert not re.search(r"<|\x1b|^#|(?<!\\)`", markdown_tables(sections), re.MULTILINE)
    text = latex_tables(sections)
    assert "\x1b" not in text
    assert r"\input" not in text
    assert not [cell for row in read(raw(result)) for cell in row if re.search(r"(^|;)[=@]", cell)]
    assert any(cell.startswith("'=x") for row in read(raw(result)) for cell in row)


def test_terminal_markup_is_escaped():
    stream = io.StringIO()
    console = PlainConsole(file=stream, width=60, force_terminal=True, color_system="standard")
    table = Table("name", "other", title="\x1b]0;title\x07")
    table.add_row("\x1b[2J", Text("\x9b31m\u202e\x08"))
    table.add_row("[bold]x[/bold] :bomb:", Text("plain"))
    console.print(table)
    console.say("a\nerror: b\r\x1b[1A")
    assert not re.search("[\x07\x08\x0d\x9b\u202e]|\x1b(?!\\[[0-9;]*m)|\x1b\\[31m", stream.getvalue())
    assert "[bold]x[/bold] :bomb:" in stream.getvalue()
    assert "a error: b \\x1b[1A\n" in stream.getvalue()


def test_text_in_printable_characters():
    assert printable("é 象\t\x00\u202e\ud800") == r"é 象 \x00\u202e\ud800"


def test_figures_draw_dollars():
    with style(formulas=True):
        figure = Figure()
        figure.text(0, 0, without_formulas(r"$\undefined$"))
        figure.savefig(io.BytesIO(), format="png")
