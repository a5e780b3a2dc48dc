"""The program ``tracer``, and the package installed from its wheel."""

import json
import os
import subprocess
import sys

import pytest

from tests.commands.helpers import ROOT, TINY
from tracer_lightning import __version__
from tracer_lightning.commands import program
from tracer_lightning.commands.cli import conf_folder


def tracer(monkeypatch, *arguments, name="/usr/bin/tracer"):
    """Run the program in this process; the exit status."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        program.main()
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_the_commands(monkeypatch, capsys, arguments):
    assert tracer(monkeypatch, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "usage: tracer COMMAND ..." in lines
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == list(program.COMMANDS)


def test_every_configured_command_has_its_settings():
    configured = [name for name, entry in program.COMMANDS.items() if isinstance(entry, program.Configured)]
    assert all((conf_folder() / f"{name}.yaml").is_file() for name in configured)


def test_version(monkeypatch, capsys):
    assert tracer(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"tracer {__version__}\n"


def test_an_unknown_command_is_one_line(monkeypatch, capsys):
    assert tracer(monkeypatch, "trian", "seed=1") == 1
    assert capsys.readouterr().err == "error: 'trian': there is no such command; did you mean train? see --help\n"


@pytest.mark.parametrize(
    ("name", "invocation"),
    [
        ("/usr/bin/tracer", "tracer merge"),
        ("/site/tracer_lightning/__main__.py", "python -m tracer_lightning merge"),
        ("scripts/merge.py", "python scripts/merge.py"),
    ],
)
def test_help_shows_the_command_as_the_user_runs_it(monkeypatch, name, invocation):
    monkeypatch.setattr(sys, "argv", [name])
    assert program.invocation("merge") == invocation


@pytest.mark.parametrize(
    ("line", "suggestions"),
    [("tracer ev", {"train", "evaluate"}), ("tracer merge merge=", {"merge=wise_ft", "merge=model_stock"})],
)
def test_completion(monkeypatch, capsys, line, suggestions):
    monkeypatch.setenv("COMP_LINE", line)
    assert tracer(monkeypatch, "-sc", "query=bash") == 0
    assert suggestions <= set(capsys.readouterr().out.split())


def test_commands_without_a_configuration_run_as_subcommands(monkeypatch, capsys, tmp_path):
    assert tracer(monkeypatch, "collect", str(tmp_path)) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.slow
@pytest.mark.parametrize("command", [[], ["collect"], ["make_shards"], ["train"]])
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys; from tracer_lightning.commands.program import main\n"
        f"sys.argv = ['tracer', *{command}, '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'lightning', 'open_clip', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["runs", "collect"])
def test_commands_that_read_results_do_not_import_torch(command, tmp_path):
    code = (
        "import sys; from tracer_lightning.commands.program import main\n"
        f"sys.argv = ['tracer', '{command}', {str(tmp_path)!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'lightning', 'torchmetrics'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package as its wheel installs it, without its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder / "site")]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return folder / "site"


def run_installed(installed, folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_folder(installed, tmp_path):
    """With further settings of the user's own, on two processes, which ``tracer`` starts, and as jobs of a sweep."""
    (tmp_path / "own/method").mkdir(parents=True)
    (tmp_path / "own/method/mine.yaml").write_text("defaults: [flyp]\nname: mine\n")
    settings = [*TINY, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "run=x", "method=mine"]
    program = [sys.executable, str(installed / "bin/tracer"), "train"]
    run_installed(installed, tmp_path, *program, "-m", *settings, "seed=3,4", "--config-dir", "own")
    for job in ("0-mine-seed3", "1-mine-seed4"):
        results = json.loads((tmp_path / f"outputs/digits/x/{job}/results.json").read_text())
        assert results["method"] == "mine"
        assert results["versions"]["tracer-lightning"] == __version__


@pytest.mark.slow
def test_the_wheel_runs_as_a_module(installed, tmp_path):
    out = run_installed(installed, tmp_path, sys.executable, "-m", "tracer_lightning", "kernels", "steps=100")
    assert "outputs/kernels/kernels.png" in out
    assert (tmp_path / "outputs/kernels/kernels.svg").is_file()
