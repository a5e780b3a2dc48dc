"""What distinguishes runs: their settings, without what only names, places or reports a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

Value = str | int | float | bool
Settings = dict[str, Value]
"""Dotted keys of a run's configuration to their values; null and absent are the same."""

METHOD = "method.name"
PEFT = "peft.name"
BACKBONE = "backbone.name"
WEIGHTS = "backbone.pretrained"
TERMS = "distill_losses"
TEACHER = "teacher.module._target_"
KERNEL = "kernel._target_"
BETA = "kernel.beta"
EVERY = "teacher.every_n_steps"
STRENGTH = "method.strength"
EVAL_BATCH = "data.eval_batch_size"
PREFERRED = (METHOD, PEFT, BACKBONE, TERMS, TEACHER, KERNEL, BETA, EVERY, STRENGTH, "regularizers", "optimizer.lr")
"""Settings that name a difference before others do, where several go together."""
TITLES = {METHOD: "method", PEFT: "peft", BACKBONE: "backbone", TEACHER: "teacher"}
IGNORED = (
    *(
        "name",
        "run",
        "seed",
        "*.seed",
        "resume",
        "rendezvous",
        "primary_metric",
        "min_accuracy",
        "paths.*",
        "logger.*",
        "compute.*",
        "kernel.*",
    ),
    *("data.root", "data.download", "data.cache_dir", "data.num_workers", EVAL_BATCH, "reproduce.ece_per_batch"),
    *(f"trainer.{key}" for key in ("default_root_dir", "accelerator", "devices", "num_nodes", "strategy")),
    *("trainer.enable_*", "trainer.log_every_n_steps", "trainer.profiler"),
    *("callbacks.*", "optimized_metric"),
)
"""Patterns of settings that don't change what is trained. A kernel counts where the teacher has it."""
TERM_ORDER = ("fd", "crd", "icl", "cross_kd")
"""In which terms are listed; others follow."""
KERNEL_OF_TEACHER = "teacher.module.kernel."


def term_names(names: Iterable[str]) -> str:
    """One spelling for each set of terms, such as ``fd+icl``, and ``none`` for the empty one."""
    known = {name: number for number, name in enumerate(TERM_ORDER)}
    return "+".join(sorted(names, key=lambda name: (known.get(name, len(known)), name))) or "none"


def in_force(terms: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Those that are computed: an experiment's weight for a term that the method lacks is no term, nor is weight 0."""
    return [name for name, entry in terms.items() if "term" in entry and entry.get("weight")]


def size_of_terms(value: Value | None) -> int:
    """How many terms such a spelling has."""
    return 0 if value == "none" else 1 + str(value).count("+")


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value if isinstance(value, str | int | float) else json.dumps(value, default=str)


def settings_of(config: Mapping[str, Any]) -> Settings:
    """What of a run's configuration decides its result, but for the seed.

    Args:
        config: the resolved configuration, as in a run's config.yaml.
    """
    output = str((config.get("paths") or {}).get("output_dir") or "")
    counted = {EVAL_BATCH} if (config.get("reproduce") or {}).get("ece_per_batch") else set()
    settings: Settings = {key: term_names(in_force(config.get(key) or {})) for key in (TERMS, "regularizers")}
    for key, value in _flat(config):
        group, _, rest = key.partition(".")
        if group in settings and rest.partition(".")[0] not in in_force(config[group]):
            continue
        within = bool(output) and isinstance(value, str) and output in value
        if not within and (key in counted or not any(fnmatch(key, pattern) for pattern in IGNORED)):
            settings[key.replace(KERNEL_OF_TEACHER, "kernel.")] = value
    return settings


def _preference(key: str) -> tuple[int, int]:
    return (PREFERRED.index(key) if key in PREFERRED else len(PREFERRED), key.count("."))


def varied_keys(settings: Sequence[Settings]) -> list[str]:
    """Few keys whose values tell all different settings apart, preferred ones first.

    A key that splits no group further than the keys before it is implied by them, and left out.
    """
    different = len({frozenset(one.items()) for one in settings})
    keys: list[str] = []
    found = 1
    for key in sorted(dict.fromkeys(key for one in settings for key in one), key=_preference):
        distinct = len({tuple(one.get(chosen) for chosen in (*keys, key)) for one in settings})
        if distinct > found:
            keys.append(key)
            found = distinct
        if found == different:
            break
    return keys


def title(key: str) -> str:
    """How a setting is called in tables."""
    return TITLES.get(key, key.removesuffix("._target_"))


def shown(key: str, value: Value | None) -> str:
    """How a value is written in tables: classes by their own name alone, numbers without needless zeros."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).rpartition(".")[2] if key.endswith("_target_") else str(value)


def label(settings: Settings, keys: Sequence[str]) -> str:
    """Such as ``method=tracer, kernel.beta=0.2``; keys that the settings lack are passed over."""
    present = [key for key in keys if key in settings] or keys
    return ", ".join(f"{title(key)}={shown(key, settings.get(key))}" for key in present)
