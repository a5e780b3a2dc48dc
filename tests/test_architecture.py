"""Which room may import which, and other rules that hold everywhere."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tracer_lightning"
ALLOWED = {
    "types": set(),
    "phases": set(),
    "storage": set(),
    "scores": set(),
    "functional": {"types"},
    "kernels": {"types", "functional"},
    "teachers": {"types", "functional", "kernels"},
    "anchors": {"types", "functional"},
    "losses": {"types", "functional"},
    "models": {"types", "storage", "functional"},
    "merging": {"types", "functional"},
    "data": {"types", "phases", "storage", "functional"},
    "evaluation": {"types", "scores", "functional"},
    "alignment": {"types", "storage", "functional", "models", "data"},
    "reporting": {"types", "scores", "storage", "evaluation"},
    "module": {"types", "scores", "functional", "kernels", "teachers", "losses", "models", "data", "evaluation"},
    "engine": {
        *("types", "phases", "scores", "storage", "functional", "models", "merging", "data", "evaluation", "reporting"),
        "module",
    },
    "callbacks": {
        *(
            "types",
            "phases",
            "scores",
            "storage",
            "functional",
            "teachers",
            "evaluation",
            "reporting",
            "module",
            "engine",
        ),
    },
    "config": {
        *("types", "phases", "storage", "functional", "kernels", "teachers", "anchors", "losses", "models", "data"),
        *("scores", "evaluation", "alignment", "reporting", "module", "engine", "callbacks"),
    },
    "studies": {"types", "scores", "storage", "functional", "kernels", "teachers", "evaluation", "reporting"},
    "benchmarks": {
        *("types", "storage", "functional", "kernels", "teachers", "losses", "models", "data", "evaluation"),
        *("scores", "alignment", "reporting", "module", "callbacks"),
    },
}
HYDRA = {"config", "commands"}
"""Packages that know Hydra."""
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree):
    """Names of the modules that a syntax tree imports, and of what it imports from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.fixture(scope="module")
def trees():
    """Syntax trees by path."""
    return {path: ast.parse(path.read_text()) for path in FILES}


@pytest.fixture(scope="module")
def imported(trees):
    """Names of imported modules by path."""
    return {path: set(imports(tree)) for path, tree in trees.items()}


def test_imports_point_in_one_direction(imported):
    wrong = []
    for path, modules in imported.items():
        allowed = ALLOWED.get(room(path))
        for module in modules:
            parts = module.split(".")
            is_ours = parts[0] == "tracer_lightning" and len(parts) > 1
            if not parts[0] or (
                is_ours and allowed is not None and parts[1] not in {room(path), "__version__", *allowed}
            ):
                wrong.append((str(path.relative_to(PACKAGE)), module))
    assert not wrong


def test_hydra_is_imported_only_by_config_and_commands(imported):
    assert {room(path) for path, modules in imported.items() if {"hydra", "omegaconf"} & roots(modules)} == HYDRA


def roots(modules):
    return {module.split(".")[0] for module in modules}


def test_tables_for_people_are_escaped_in_one_place(trees):
    """metrics.csv is written by Lightning's logger, and read only by programs."""
    writers = {
        path.name
        for path, tree in trees.items()
        if {"writer", "DictWriter"} & {getattr(node, "attr", "") for node in ast.walk(tree)}
    }
    assert writers == {"escaping.py", "csv_logger.py"}


def test_every_form_of_import_is_seen():
    tree = ast.parse("from tracer_lightning import losses\nimport tracer_lightning.data\nfrom . import types\n")
    assert {"tracer_lightning.losses", "tracer_lightning.data", "."} <= set(imports(tree))


def test_every_room_has_its_rule():
    assert {room(path) for path in FILES} <= {*ALLOWED, "commands", "__init__", "__main__"}


def test_there_is_one_training_step():
    assert [path.name for path in FILES if "def training_step" in path.read_text()] == ["module.py"]


@pytest.mark.parametrize("folder", ["losses", "kernels", "teachers", "functional"])
def test_the_hot_path_never_waits_for_the_device(folder):
    calls = (".item()", ".cpu()", ".tolist()", ".numpy()")
    texts = {path.name: path.read_text() for path in (PACKAGE / folder).rglob("*.py")}
    assert not [(name, call) for name, text in texts.items() for call in calls if call in text]


@pytest.mark.slow
def test_teachers_are_usable_without_the_rest():
    code = (
        "import sys, tracer_lightning.teachers, tracer_lightning.kernels;"
        "heavy = {'lightning', 'hydra', 'open_clip', 'torchmetrics'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
