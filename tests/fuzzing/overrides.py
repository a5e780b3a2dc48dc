"""Command lines with mistakes in them, made from the configuration tree itself."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.conftest import CONF

VALUES = (
    *("0", "1", "-1", "2", "0.5", "-0.5", "1e-5", "1e308", "-1e308", "5e-324", "nan", "inf", "-inf"),
    *("999999999999999999999", "-999999999999999999999", "9223372036854775808"),
    *("abc", "''", "' '", "null", "true", "false", "???", "auto", "None", "1_000", "0x10", "'1'", "1.0"),
    *("[]", "{}", "[1,2]", "[-1]", "[a,a]", "[null]", "[[]]", "[[1,2],[3]]", "[0.5,nan]", "['']", "[{a:1}]"),
    *("{a:1}", "{a:{b:[1]}}", "{'':null}", "{_target_:os.getcwd}", "{_target_:nowhere.to_be}", "{_target_:3}"),
    *("é✓🎉", "'a b'", "'a=b'", "'a,b'", "a/b", "'../x'", "'[1'", r"'a\'b'", '"x\'y"', "'\t'", "'a\nb'", "'[/b]'"),
    *("${seed}", "${nowhere}", "${data}", "${optimizer.lr}", "${nowhere:1}", "'${'", r"\${seed}", "${oc.env:NO_SUCH}"),
)
"""What a setting is set to, as written on a command line."""
RAW = ("=", "=1", "seed", "seed=", "seed=[1", "seed={", "seed='1", "~", "+", "++seed=-1", "seed==1", "--", "a.b.c=1")
RAW += ("seed =1", "seed= 1", "seed=1 2", "=seed", "seed,name=1", "@=1", "method@x=tracer", "seed=1,2", "seed=$(x)")
RAW += ("seed=range(3)", "seed=choice(1,2)", "seed=int(x)", "hydra.nowhere=1", "'seed=1'", "séed=1", "..=1", "a..b=1")
SINGLE = (
    "method",
    "peft",
    "head",
    "teacher",
    "anchors",
    "task_loss",
    "kernel",
    "scheduler",
    "optimizer",
    "reproduce",
    "compute",
)
SINGLE += ("callbacks", "logger", "trainer", "backbone", "debug", "ablation", "recipe", "evaluation")
SHARDED = ("data", "suite", "experiment")
SEVERAL = ("distill_losses", "regularizers")
LIKE = {
    bool: ("true", "false"),
    int: ("0", "1", "2", "3", "5", "7", "64", "1000"),
    float: ("0", "1e-6", "0.1", "0.5", "0.999", "1", "2.5", "1e4"),
    list: ("[]", "[0.1,0.9]", "[plain]", "[plain,spurious]", "[image]", "[text]", "[scale]", "[head]", "[visual.*]"),
    type(None): ("1", "0.5", "accuracy", "simple", "norm", "x"),
}
"""Values that a setting may well have, by the type of its default."""


class Case(NamedTuple):
    """One command line."""

    overrides: tuple[str, ...]
    kind: str


def leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Keys and values of all settings, and of the nodes above them."""
    if key:
        yield key, node
    if isinstance(node, dict):
        for name, value in node.items():
            if name != "defaults":
                yield from leaves(value, f"{key}.{name}" if key else str(name))


@cache
def options(group: str) -> tuple[str, ...]:
    """The options of a group."""
    return tuple(sorted(path.stem for path in Path(CONF, group).glob("*.yaml")))


@cache
def option_keys(group: str, option: str) -> tuple[str, ...]:
    """What an option sets."""
    text = Path(CONF, group, f"{option}.yaml").read_text()
    prefix = "" if "@package _global_" in text else group
    return tuple(key for key, _ in leaves(yaml.safe_load(text) or {}, prefix) if not key.startswith("hydra"))


@cache
def recipe_settings(recipe: str) -> tuple[str, ...]:
    """What a recipe sets, and the options that it chooses, such as ``callbacks: clip_schedule``."""
    content = yaml.safe_load(Path(CONF, "recipe", f"{recipe}.yaml").read_text())
    chosen = [
        f"{group.removeprefix('override /')}: {option}"
        for entry in content["defaults"]
        for group, option in entry.items()
    ]
    return (*option_keys("recipe", recipe), *chosen)


def misspelt(word: str, rng: random.Random) -> str:
    """The word with one letter doubled, lost, exchanged or in the other case."""
    place = rng.randrange(len(word))
    before, letter, behind = word[:place], word[place], word[place + 1 :]
    return rng.choice((f"{before}{letter}{letter}{behind}", before + behind + "_", f"{before}x{behind}", word.upper()))


class Fuzzer:
    """Draws cases.

    Args:
        settings: of the default configuration, as composed, and their values.
        seed: equal seeds, equal cases.
    """

    def __init__(self, settings: Mapping[str, Any], seed: int) -> None:
        self.settings, self.keys, self.rng = settings, tuple(settings), random.Random(seed)
        self.kinds = {
            self.value: 5,
            self.values: 2,
            self.plausible: 3,
            self.combination: 6,
            self.deletion: 2,
            self.addition: 2,
            self.misspelling: 2,
            self.raw: 1,
        }

    def draw(self) -> Case:
        """The next case."""
        kind = self.rng.choices(list(self.kinds), list(self.kinds.values()))[0]
        return Case(tuple(kind()), kind.__name__)

    def _set(self, keys: tuple[str, ...]) -> str:
        return f"{self.rng.choice(keys)}={self.rng.choice(VALUES)}"

    def value(self) -> list[str]:
        """One setting of the default run."""
        return [self._set(self.keys)]

    def values(self) -> list[str]:
        """Several settings of the default run."""
        return [self._set(self.keys) for _ in range(self.rng.randint(2, 4))]

    def plausible(self) -> list[str]:
        """Some settings of the default run, to values of the type that they have."""
        likes = [(key, LIKE[type(value)]) for key, value in self.settings.items() if type(value) in LIKE]
        return [f"{key}={self.rng.choice(values)}" for key, values in self.rng.sample(likes, self.rng.randint(1, 3))]

    def combination(self) -> list[str]:
        """Options of some groups and, mostly, one of their settings."""
        drawn: list[str] = []
        keys: list[str] = []
        for group in self.rng.sample(SINGLE, self.rng.randint(1, 5)):
            option = self.rng.choice(options(group))
            drawn.append(f"{group}={option}")
            keys += option_keys(group, option)
        if self.rng.random() < 0.1:
            group = self.rng.choice(SHARDED)
            drawn.append(f"{group}={self.rng.choice(options(group))}")
        for group in self.rng.sample(SEVERAL, self.rng.randint(0, 2)):
            several = self.rng.sample(options(group), self.rng.randint(0, 3))
            drawn.append(f"{group}=[{','.join(several)}]")
            keys += [key for option in several for key in option_keys(group, option)]
        if "trainer" not in "".join(drawn) and self.rng.random() < 0.3:
            drawn.append(f"trainer.precision={self.rng.choice(('bf16-mixed', 'bf16-true', '16-mixed', '64-true'))}")
        if keys and self.rng.random() < 0.6:
            drawn.append(self._set(tuple(keys)))
        return drawn

    def deletion(self) -> list[str]:
        """Something is taken away."""
        return [f"~{self.rng.choice(self.keys)}" for _ in range(self.rng.randint(1, 2))]

    def addition(self) -> list[str]:
        """Something is added that nobody asked for."""
        key = self.rng.choice(self.keys)
        name = self.rng.choice(("extra", "_target_", "_partial_", "_args_", "_convert_", "_recursive_", "0", "weight"))
        return [f"{self.rng.choice(('+', '++'))}{key}.{name}={self.rng.choice(VALUES)}"]

    def misspelling(self) -> list[str]:
        """A key, group or option that does not exist."""
        group = self.rng.choice(SINGLE + SHARDED)
        option, key = self.rng.choice(options(group)), self.rng.choice(self.keys)
        return [
            self.rng.choice(
                (
                    f"{misspelt(group, self.rng)}={option}",
                    f"{group}={misspelt(option, self.rng)}",
                    f"{group}=[{option}]",
                    f"{group}={self.rng.choice(VALUES)}",
                    f"{misspelt(key, self.rng)}={self.rng.choice(VALUES)}",
                    f"distill_losses=[{misspelt('crd', self.rng)}]",
                )
            )
        ]

    def raw(self) -> list[str]:
        """Something that is hardly an override at all."""
        return [self.rng.choice(RAW)]


def draw(count: int, seed: int, settings: Mapping[str, Any]) -> list[Case]:
    """The first cases of a seed."""
    fuzzer = Fuzzer(settings, seed)
    return [fuzzer.draw() for _ in range(count)]
