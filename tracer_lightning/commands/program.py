"""The program ``tracer`` and its subcommands. This module imports nothing heavy, so that --help is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tracer_lightning import __version__


class Configured(NamedTuple):
    """A command whose settings Hydra composes from ``conf/<command>.yaml``."""

    summary: str
    function: str
    """Name of the function in the command's module."""
    checkpoint: Literal["evaluated", "diagnosed", "embedded", "exported"] | None = None
    """Use of the checkpoint that the command line names; see :func:`tracer_lightning.commands.cli.cli`."""
    shorthand: str | None = None
    """Name of the function in :mod:`tracer_lightning.config.shorthand` that translates the command line."""


class Plain(NamedTuple):
    """A command without a configuration, whose parser is in :mod:`tracer_lightning.commands.arguments`."""

    summary: str
    function: str
    """Name of the function in the command's module, called with the parsed arguments."""


COMMANDS: dict[str, Configured | Plain] = {
    "train": Configured("fine-tune a model; without settings, the demo on handwritten digits", "train"),
    "check": Configured("inspect images before anything is trained", "check"),
    "evaluate": Configured("evaluate finished or published models", "evaluate", "evaluated"),
    "predict": Configured("classify images without labels", "predict", "exported"),
    "embed": Configured("compute features of images, arrays or texts", "embed", "embedded"),
    "export": Configured("write a model in a format that other libraries load", "export", "exported"),
    "merge": Configured("merge the weights of finished models", "merge", "evaluated", "expand_merge"),
    "runs": Plain("list finished runs with their main results", "list_runs"),
    "collect": Plain("compare finished runs in tables and figures", "collect"),
    "changed": Configured("show which images a run forgot and learned", "changed", "diagnosed"),
    "diagnose": Configured("measure how hard data sets are for a model", "diagnose", "diagnosed"),
    "similarity": Configured("compare models block by block", "similarity", "diagnosed", "expand_similarity"),
    "dynamics": Plain("plot how teacher and student evolve in several runs", "compare_dynamics"),
    "kernels": Configured("plot what the teacher remembers with each kernel", "draw_kernels"),
    "make_shards": Plain("write a data set as shards", "make_shards"),
    "make_arrays": Plain("write a task of NAS-Bench-360 as arrays", "make_arrays"),
}
COMPLETION = ("-sc", "--shell-completion")
"""Hydra's option for shell completion."""
LINE = "COMP_LINE"
"""Environment variable in which a shell gives the command line to complete."""


def invocation(command: str) -> str:
    """How the user runs a command: by ``tracer``, as a module, or as a script of a checkout."""
    program = Path(sys.argv[0]).name
    if program == "__main__.py":
        return f"python -m tracer_lightning {command}"
    if program.endswith(".py"):
        return "python train.py" if command == "train" else f"python scripts/{command}.py"
    return f"{program} {command}"


def main() -> None:
    """Run the subcommand that the command line names."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_help())
    elif arguments[0] == "--version":
        sys.stdout.write(f"tracer {__version__}\n")
    elif arguments[0] in COMPLETION:
        _complete()
    elif arguments[0] in COMMANDS:
        run(arguments[0], subcommand=arguments[0])
    else:
        similar = get_close_matches(arguments[0], COMMANDS, 1)
        question = f"did you mean {similar[0]}? " if similar else ""
        sys.stderr.write(f"error: {arguments[0]!r}: there is no such command; {question}see --help\n")
        raise SystemExit(1)


def run(command: str, subcommand: str | None = None) -> None:
    """Run a command with the arguments in ``sys.argv``.

    Args:
        command: name of the command.
        subcommand: the first argument, where it names the command.
    """
    entry = COMMANDS[command]
    if isinstance(entry, Configured):
        _run_configured(command, entry, [] if subcommand is None else [subcommand])
    else:
        from tracer_lightning.engine.streams import standard_streams

        with standard_streams():
            raise SystemExit(run_plain(command, sys.argv[1 if subcommand is None else 2 :]))


def _run_configured(command: str, entry: Configured, words: Sequence[str]) -> None:
    from tracer_lightning.commands.cli import cli, hydra_main

    del sys.argv[1 : 1 + len(words)]  # Hydra takes all arguments for settings
    options: dict[str, Any] = {}
    if entry.shorthand is not None:
        options["shorthand"] = getattr(import_module("tracer_lightning.config.shorthand"), entry.shorthand)
    cli(hydra_main(command, entry.function, words), entry.checkpoint, **options)


def run_plain(command: str, arguments: Sequence[str]) -> int:
    """Run a command that has no configuration.

    Args:
        command: its name.
        arguments: the command line after the command.

    Returns:
        The exit status.
    """
    from tracer_lightning.reporting.command_line import run_command

    build_parser = getattr(import_module("tracer_lightning.commands.arguments"), f"{command}_parser")

    def job(parsed: Any) -> Any:
        module = import_module(f"tracer_lightning.commands.{command}")
        return getattr(module, COMMANDS[command].function)(parsed)

    return run_command(job, build_parser(invocation(command)), arguments)


def _help() -> str:
    lines = [
        "tracer-lightning fine-tunes CLIP robustly.",
        "",
        f"usage: {invocation('COMMAND')} ...",
        "",
        *(f"  {name:13}{entry.summary}" for name, entry in COMMANDS.items()),
        "",
        "COMMAND --help shows the settings of a command, and --version the version of this program.",
        f'Completion in bash: eval "$({invocation("-sc")} install=bash)"',
    ]
    return "\n".join(lines) + "\n"


def _complete() -> None:
    """Suggest commands, or have Hydra suggest the settings of the command that the line to complete begins with."""
    program, *words = os.environ.get(LINE, "").split(" ")
    command = words[0] if len(words) > 1 else "train"
    if len(words) == 1:
        sys.stdout.write(" ".join(COMMANDS) + "\n")
    elif isinstance(entry := COMMANDS.get(command), Configured):
        os.environ[LINE] = " ".join([program, *words[1:]])
        _run_configured(command, entry, [])
