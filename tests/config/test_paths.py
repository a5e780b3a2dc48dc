"""Paths with whatever characters folders have."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tracer_lightning.config.paths import quoted, with_absolute_root, with_home, with_quoted_paths

ODD = [
    "it's",
    "a=b",
    "a (c)",
    "[d]",
    "#1",
    "a~b",
    "é",
    "a b",
    "{x}",
    "a&b;c",
    "a\\",
    "a\\'b",
    "it's \\",
    'say "x"',
    "a'",
    "!",
]


@pytest.mark.parametrize("name", ODD)
def test_a_path_of_any_characters_is_what_the_setting_holds(name):
    (argument,) = with_quoted_paths([f"data.root=/data/{name}"])
    assert OverridesParser.create().parse_override(argument).value() == f"/data/{name}"
    assert OverridesParser.create().parse_override(f"x={quoted(name)}").value() == name


@pytest.mark.parametrize(
    "argument",
    [
        "optimizer.lr=[1",
        "distill_losses=[fd,icl]",
        "seed=0,1",
        "data.root=/a,/b",
        "x='it\\'s/x'",
        "x={a:/b}",
        "-m",
        "--config-dir=/my/conf",
        "--config-path=/it's/conf",
        "a(b",
        "x=a(b",
    ],
)
def test_all_else_is_left_as_it_is(argument):
    assert with_quoted_paths([argument]) == [argument]


def test_home():
    home = str(Path.home())
    arguments = ["data.root=~/x", "checkpoints=~/a,~/b", "first=[~/a]", "~peft", "x=a~b", "y=~other/x", "data.root=~"]
    expanded = [
        f"data.root={home}/x",
        f"checkpoints={home}/a,{home}/b",
        f"first=[{home}/a]",
        *arguments[3:6],
        f"data.root={home}",
    ]
    assert with_home(arguments) == expanded


@pytest.mark.parametrize(
    ("root", "expected"),
    [("x", str(Path.cwd() / "x")), ("/x", "/x"), ("hf://datasets/a", "hf://datasets/a"), (None, None), ("???", "???")],
)
def test_a_folder_of_data_is_the_same_from_anywhere(root, expected):
    cfg = with_absolute_root(OmegaConf.create({"data": {"root": root}}))
    assert OmegaConf.to_container(cfg)["data"]["root"] == expected


def test_other_data_have_no_root():
    assert with_absolute_root(OmegaConf.create({"data": {}, "x": 1})) == {"data": {}, "x": 1}
