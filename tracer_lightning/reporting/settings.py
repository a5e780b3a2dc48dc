"""Settings that distinguish runs, without those that only name, locate or report a run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from typing import Any

Value = str | int | float | bool
Settings = dict[str, Value]
"""Values of a run's configuration by dotted key; null and absent are equivalent."""

METHOD = "method.name"
PEFT = "peft.name"
BACKBONE = "backbone.name"
WEIGHTS = "backbone.pretrained"
TERMS = "distill_losses"
TRAINED_PARTS = "method.train"
TEACHER = "teacher.module._target_"
KERNEL = "kernel._target_"
BETA = "kernel.beta"
EVERY = "teacher.every_n_steps"
STRENGTH = "method.strength"
EVAL_BATCH = "data.eval_batch_size"
PREFERRED = (METHOD, PEFT, BACKBONE, TERMS, TEACHER, KERNEL, BETA, EVERY, STRENGTH, "regularizers", "optimizer.lr")
"""Settings that are preferred as labels where several vary together."""
TITLES = {METHOD: "method", PEFT: "peft", BACKBONE: "backbone", TEACHER: "teacher"}
IGNORED = (
    *(
        "name",
        "run",
        "seed",
        "*.seed",
        "resume",
        "tags",
        "keep",
        "rendezvous_timeout",
        "primary_metric",
        "min_accuracy",
        "paths.*",
        "logger.*",
        "compute.*",
        "kernel.*",
    ),
    *("data.root", "data.download", "data.cache_dir", "data.num_workers", "data.in_memory", EVAL_BATCH),
    "reproduce.ece_per_batch",
    *(f"trainer.{key}" for key in ("default_root_dir", "accelerator", "devices", "num_nodes", "strategy")),
    *("trainer.enable_*", "trainer.log_every_n_steps", "trainer.profiler"),
    *("callbacks.*", "optimized_metric", "continual.*", "evaluation.validation_suite.*", "evaluation.test_suite.*"),
)
"""Patterns of settings that do not affect training. A kernel counts only as a setting of the teacher."""
IS_IGNORED = re.compile("|".join(map(translate, IGNORED))).match
TERM_ORDER = ("fd", "crd", "icl", "cross_kd")
"""Order in which terms are listed; other terms follow."""
KERNEL_OF_TEACHER = "teacher.module.kernel."


def term_names(names: Iterable[str]) -> str:
    """Canonical name of a set of terms, such as ``fd+icl``, and ``none`` for the empty set."""
    ranks = {name: number for number, name in enumerate(TERM_ORDER)}
    return "+".join(sorted(names, key=lambda name: (ranks.get(name, len(ranks)), name))) or "none"


def active_terms(terms: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the terms that are computed: an experiment may set weights of absent terms, and a weight may be 0."""
    return [name for name, entry in terms.items() if "term" in entry and entry.get("weight")]


def size_of_terms(value: Value | None) -> int:
    """Number of terms in a name made by :func:`term_names`."""
    return 0 if value == "none" else 1 + str(value).count("+")


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value if isinstance(value, str | int | float) else json.dumps(value, default=str)


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Extract the settings that determine a run's result, except the seed.

    Args:
        config: the resolved configuration, as in a run's config.yaml.
    """
    output = str((config.get("paths") or {}).get("output_dir") or "")
    relevant = {EVAL_BATCH} if (config.get("reproduce") or {}).get("ece_per_batch") else set()
    settings: Settings = {key: term_names(active_terms(config.get(key) or {})) for key in (TERMS, "regularizers")}
    for key, value in _flat(config):
        group, _, rest = key.partition(".")
        if group in settings and rest.partition(".")[0] not in active_terms(config[group]):
            continue
        is_output_path = bool(output) and isinstance(value, str) and output in value
        if not is_output_path and (key in relevant or not IS_IGNORED(key)):
            settings[key.replace(KERNEL_OF_TEACHER, "kernel.")] = value
    return settings


def recorded_settings(settings: Settings) -> Settings:
    """Settings of a run as :func:`settings_of` once extracted them, without those that it ignores now."""
    kept = (EVAL_BATCH, "kernel.")
    return {key: value for key, value in settings.items() if key.startswith(kept) or not IS_IGNORED(key)}


def _preference(key: str) -> tuple[int, int]:
    return (PREFERRED.index(key) if key in PREFERRED else len(PREFERRED), key.count("."))


def varied_keys(settings: Sequence[Settings]) -> list[str]:
    """Find few keys whose values distinguish all different settings, preferred ones first.

    A key that splits no group further than the previous keys is implied by them and left out.
    """
    total = len({frozenset(run.items()) for run in settings})
    keys: list[str] = []
    count = 1
    for key in sorted(dict.fromkeys(key for run in settings for key in run), key=_preference):
        distinct = len({tuple(run.get(name) for name in (*keys, key)) for run in settings})
        if distinct > count:
            keys.append(key)
            count = distinct
        if count == total:
            break
    return keys


def title(key: str) -> str:
    """Name of a setting in tables."""
    return TITLES.get(key, key.removesuffix("._target_"))


def format_value(key: str, value: Value | None) -> str:
    """Format a value for tables: classes without their module, numbers without trailing zeros."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).rpartition(".")[2] if key.endswith("_target_") else str(value)


def label(settings: Settings, keys: Sequence[str]) -> str:
    """Label such as ``method=tracer, kernel.beta=0.2``; keys that the settings lack are skipped."""
    present = [key for key in keys if key in settings] or keys
    return ", ".join(f"{title(key)}={format_value(key, settings.get(key))}" for key in present)
