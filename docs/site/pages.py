"""Pages of the site that are made of other files: README, configuration, parsers, docstrings (a hook of MkDocs)."""

from __future__ import annotations

import re
import runpy
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from posixpath import relpath
from typing import Any
from unittest import mock

import yaml
from mkdocs.structure.files import File, Files

from tracer_lightning.commands import arguments
from tracer_lightning.commands.program import COMMANDS, Plain, invocation
from tracer_lightning.config.help import help_config

ROOT = Path(__file__).parent.parent.parent
CONF = ROOT / "conf"
PACKAGES = (
    "losses",
    "teachers",
    "kernels",
    "anchors",
    "callbacks",
    "models",
    "data",
    "evaluation",
    "alignment",
    "merging",
)
"""Packages with public classes, each of which gets a page."""
SCRIPTS = ("benchmark", "make_pairs", "theory", "toy")
"""Scripts of a checkout that users run, with ``build_parser``."""
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "licence.md",
}
"""Pages of files in the root folder."""
WIDTH = 100
"""Number of columns of the options of a command."""
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")
"""Target of a link to a file."""


def on_config(config: Any) -> Any:
    """Add the generated pages to the navigation."""
    reference = next(entry for entry in config.nav if "Reference" in entry)
    commands, scripts, groups = (
        [{name: f"reference/{kind}/{name}.md"} for name in names]
        for kind, names in (
            ("commands", COMMANDS),
            ("scripts", SCRIPTS),
            ("settings", [path.stem for path in _groups()]),
        )
    )
    packages = [{f"tracer_lightning.{name}": f"reference/{name}.md"} for name in PACKAGES]
    reference["Reference"] = [{"Commands": commands}, {"Scripts": scripts}, {"Settings": groups}, {"Python": packages}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    pages = {
        **{page: _from_root((ROOT / name).read_text(encoding="utf-8")) for name, page in ROOT_PAGES.items()},
        **{f"reference/commands/{name}.md": _command_page(name) for name in COMMANDS},
        **{f"reference/scripts/{name}.md": _script_page(name) for name in SCRIPTS},
        **{f"reference/settings/{path.stem}.md": _group_page(path) for path in _groups()},
        **{f"reference/{name}.md": _package_page(name) for name in PACKAGES},
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links to files outside of this folder to the pages that show them."""
    folder = Path(page.file.src_uri).parent.as_posix()

    def target(match: re.Match[str]) -> str:
        path = (ROOT / "docs" / folder / match[1]).resolve()
        if path.is_relative_to(ROOT / "docs") or not path.exists():
            return match[1]
        return relpath(_page_of(path), folder)

    return LINK.sub(target, markdown)


def _page_of(path: Path) -> str:
    """The page, relative to the site, that shows a file of the repository."""
    if path.parent == ROOT and path.name in ROOT_PAGES:
        return ROOT_PAGES[path.name]
    if path.is_relative_to(CONF):
        group = path.relative_to(CONF).parts[0]
        return f"reference/settings/{group}.md"
    raise ValueError(f"{path} is shown by no page of the site; link to another")


def _from_root(text: str) -> str:
    """Text of a file in the root folder with links as from the folder of the documentation."""
    return LINK.sub(
        lambda match: match[1].removeprefix("docs/") if match[1].startswith("docs/") else f"../{match[1]}", text
    )


def _groups() -> list[Path]:
    return sorted(path for path in CONF.iterdir() if path.is_dir())


def _header(text: str) -> tuple[str, str]:
    """First comment of a YAML file, as text, and the rest."""
    lines = [line for line in text.splitlines() if line != "# @package _global_"]
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:count]), "\n".join(lines[count:])


def _command_page(name: str) -> str:
    """A command's examples and settings, from its configuration, or its options, from its parser."""
    command = COMMANDS[name]
    title = f"# {name}\n\n{command.summary[0].upper()}{command.summary[1:]}.\n\n"
    with mock.patch.object(sys, "argv", ["tracer"]):  # examples call the commands as the user called this program
        if isinstance(command, Plain):
            return title + "\n".join(_options(getattr(arguments, f"{name}_parser")(invocation(name))))
        _, body = _header((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
        return f"{title}```text\n{_examples(name)}\n```\n\n## Settings\n\n```yaml\n{body.strip()}\n```\n"


def _examples(name: str) -> str:
    """Text of a configured command's ``--help`` without its lists of groups and settings, which the page has below."""
    file = CONF / f"{help_config(name, CONF)}.yaml"
    template = yaml.safe_load(file.read_text(encoding="utf-8"))["help"]["template"]
    text = re.sub(r"\$\{invocation:(\w+)\}", lambda match: invocation(match[1]), template)
    return re.sub(r"\$\{[^}]*\}\n*", "", text).strip("\n")


def _script_page(name: str) -> str:
    """The options of a script, from its parser."""
    path = f"scripts/{name}.py"
    with mock.patch.object(sys, "argv", [path]):
        return f"# {path}\n\n" + "\n".join(_options(runpy.run_path(str(ROOT / path))["build_parser"]()))


def _options(parser: ArgumentParser) -> Iterator[str]:
    """Help of a parser and, below headings of their own, of those of its subcommands."""
    parser.formatter_class = partial(RawDescriptionHelpFormatter, width=WIDTH)
    yield f"```text\n{parser.format_help().strip()}\n```\n"
    for action in parser._actions:  # argparse has no public list
        for name, subparser in (action.choices if isinstance(action, _SubParsersAction) else {}).items():
            yield f"## {name}\n"
            yield from _options(subparser)


def _group_page(folder: Path) -> str:
    parts = [f"# {folder.name}", ""]
    for path in sorted(folder.rglob("*.yaml")):
        group = path.parent.relative_to(CONF).as_posix()
        header, body = _header(path.read_text(encoding="utf-8"))
        parts += [f"## {group}={path.stem}", "", _quoted(header), "", f"```yaml\n{body.strip()}\n```", ""]
    return "\n".join(parts)


def _quoted(header: str) -> str:
    """A header as preformatted text, which keeps its alignment."""
    return f"```text\n{header}\n```" if header else ""


def _package_page(name: str) -> str:
    return "\n".join([f"# tracer_lightning.{name}", "", *_members(name)])


def _members(name: str) -> Iterator[str]:
    module = import_module(f"tracer_lightning.{name}")
    for member in module.__all__:
        if callable(getattr(module, member)):
            yield f"::: tracer_lightning.{name}.{member}\n"
