"""Which room may import which, and other rules that hold everywhere."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tracer_lightning"
ALLOWED = {
    "types": set(),
    "storage": set(),
    "functional": {"types"},
    "kernels": {"types", "functional"},
    "teachers": {"types", "functional", "kernels"},
    "anchors": {"types", "functional"},
    "losses": {"types", "functional"},
    "models": {"types", "storage", "functional"},
    "merging": {"types", "functional"},
    "data": {"types", "storage", "functional"},
    "evaluation": {"types", "functional"},
    "reporting": {"types", "storage", "evaluation"},
    "module": {"types", "functional", "kernels", "teachers", "losses", "models", "data", "evaluation"},
    "engine": {
        *("types", "storage", "functional", "models", "merging", "data", "evaluation", "reporting", "module"),
    },
    "callbacks": {"types", "storage", "functional", "teachers", "evaluation", "reporting", "module", "engine"},
    "config": {
        *("types", "storage", "functional", "kernels", "teachers", "anchors", "losses", "models", "data", "evaluation"),
        *("reporting", "module", "engine", "callbacks"),
    },
    "studies": {"types", "storage", "functional", "kernels", "teachers", "evaluation", "reporting"},
    "benchmarks": {
        *("types", "storage", "functional", "kernels", "teachers", "losses", "models", "data", "evaluation"),
        *("reporting", "module", "callbacks"),
    },
}
HYDRA = {"config", "commands"}
"""Packages that know Hydra."""
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_in_one_direction(path):
    here = room(path)
    for module in imports(path):
        if module.startswith("tracer_lightning.") and here in ALLOWED:
            there = module.split(".")[1]
            assert there in {here, "__version__", *ALLOWED[here]}, f"{here} imports {there}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_these_know_hydra(path):
    if room(path) not in HYDRA:
        assert not {module.split(".")[0] for module in imports(path)} & {"hydra", "omegaconf"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_tables_for_people_are_escaped_in_one_place(path):
    if path.name not in ("escaping.py", "csv_logger.py"):  # metrics.csv is read again, and its columns are named here
        assert not {"writer", "DictWriter"} & {
            getattr(node, "attr", "") for node in ast.walk(ast.parse(path.read_text()))
        }


def test_the_rule_sees_every_form_of_import(tmp_path):
    file = tmp_path / "probe.py"
    file.write_text("from tracer_lightning import losses\nimport tracer_lightning.data\n")
    assert {"tracer_lightning.losses", "tracer_lightning.data"} <= set(imports(file))


def test_every_room_has_its_rule():
    assert {room(path) for path in FILES} <= {*ALLOWED, "commands", "__init__"}


def test_there_is_one_training_step():
    assert [path.name for path in FILES if "def training_step" in path.read_text()] == ["module.py"]


@pytest.mark.parametrize("folder", ["losses", "kernels", "teachers", "functional"])
def test_the_hot_path_never_waits_for_the_device(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        for call in (".item()", ".cpu()", ".tolist()", ".numpy()"):
            assert call not in path.read_text(), f"{path.name} calls {call}"


def test_teachers_are_usable_without_the_rest():
    code = (
        "import sys, tracer_lightning.teachers, tracer_lightning.kernels;"
        "heavy = {'lightning', 'hydra', 'open_clip', 'torchmetrics'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
