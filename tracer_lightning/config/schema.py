"""Types and ranges of the settings of each command; a ``_target_`` checks its own arguments.

A setting is listed once, with a type or, where a type does not say enough, a :class:`Rule`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tracer_lightning.config.type_checks import TARGET

MAX_SEED = (1 << 32) - 1
"""Greatest seed that NumPy takes."""
OPEN_CLIP, TRANSFORMERS, ONNX = "open_clip", "transformers", "onnx"
"""Formats of exported models."""
INTERPOLATIONS = ("wise_ft", "fisher")
"""Merges that interpolate between one model and its start, and so have ``alpha`` and ``head``."""


class Rule(NamedTuple):
    """A condition that the value of a setting must meet."""

    description: str
    """Description of valid values, which follows "must be" in messages."""
    accepts: Callable[[Any], bool]
    """Whether a plain value (no OmegaConf container) is valid."""


def whole_number(minimum: int, optional: bool = False) -> Rule:
    """A whole number with a lower bound."""

    def accepts(value: Any) -> bool:
        if value is None:
            return optional
        return isinstance(value, int) and not isinstance(value, bool) and value >= minimum

    return Rule(f"a whole number >= {minimum}", accepts)


def one_of(*choices: str, optional: bool = False) -> Rule:
    """One of several names."""
    names = " or ".join(choices) if len(choices) == 2 else f"one of {', '.join(choices)}"
    allowed = (*choices, None) if optional else choices
    return Rule(f"null or {names}" if optional else names, lambda value: value in allowed)


def _is_number(value: Any, maximum: float = sys.float_info.max) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= maximum


def _are_alphas(value: Any) -> bool:
    alphas = value if isinstance(value, list) else [value]
    return bool(alphas) and all(_is_number(alpha, maximum=1) for alpha in alphas)


def _are_patterns(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(pattern, str) for pattern in value)
    return isinstance(value, str | None)


def _are_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))


def _are_some_names(value: Any) -> bool:
    return value is None or (_are_names(value) and bool(value))


def _are_tasks(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and bool(value))


def _are_towers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and set(value) <= {"image", "text"}


def _are_plugins(value: Any) -> bool:
    return isinstance(value, Sequence) and all(isinstance(node, dict) and TARGET in node for node in value)


def _is_prerequisite(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and set(value) == {"experiment", "overrides"})


Node = dict[Any, Any]
PATH = Rule("a path or null", lambda value: isinstance(value, str | None))
MODEL = Rule("a path, a name or null", lambda value: isinstance(value, str | None))
PART = one_of("student", "teacher")
MODELS = Rule("null or a list such as [student]", _are_names)
SEED = Rule(
    f"a whole number >= 0 and <= {MAX_SEED}", lambda value: whole_number(0).accepts(value) and value <= MAX_SEED
)
COMMON: dict[str, Any] = {
    "name": str,
    "run": str,
    "seed": SEED,
    "rendezvous_timeout": whole_number(1),
    "paths.output_dir": str,
    "backbone": Node,
    "peft.prepare": Node,
    "embedder": Node,
    "suite": Node,
    "data": Node,
    "trainer": Node,
    "evaluation.precision": one_of("fp32", "bf16"),
}
SOURCE = Rule(
    "null or an option of the group data, chosen as in data@align.source=image_folder",
    lambda value: value is None or isinstance(value, dict),
)
SOURCE_HEAD = Rule(
    "an option of the group head, chosen as head@align.source_head=probe or head@align.source_head=zero_shot",
    lambda value: isinstance(value, dict),
)
TRAIN: dict[str, Any] = {
    **COMMON,
    "tags": list[str],
    "evaluation.validation_suite": Node,
    "evaluation.test_suite": Node,
    "paths.outputs": str,
    "paths.prerequisites": str,
    "primary_metric": str,
    "resume": PATH,
    "keep": one_of("all", "weights"),
    "init_weights": PATH,
    "tasks": Rule("null or a list of options of the group tasks", _are_tasks),
    "continual.hand_on": PART,
    "continual.general": Rule("null or a list of test sets", _are_some_names),
    "prerequisite": Rule("null or have experiment and overrides", _is_prerequisite),
    "batch_norm": one_of("train", "frozen"),
    "trainable_layers": Any,
    "optimized_metric": str | None,
    "min_accuracy": float | None,
    **dict.fromkeys(("compute.gradient_checkpointing", "compute.channels_last", "compute.compile"), bool),
    "reproduce.ece_per_batch": bool,
    "reproduce.logits_in_bf16": bool,
    "reproduce.distillation_from": whole_number(0),
    "reproduce.image_template_pairs": bool,
    "reproduce.texts": str,
    "kernel": Node,
    "teacher.every_n_steps": whole_number(1),
    "teacher.module": Node,
    "align.name": str,
    "align.transport": Node | None,
    "align.labels": Node | None,
    "align.weight": Rule("a number >= 0", _is_number),
    "align.schedule": one_of("joint", "sequential"),
    "align.distance": one_of("exact", "sinkhorn", "sliced"),
    "align.space": one_of("body", "tokens"),
    "align.source": SOURCE,
    "align.source_head": SOURCE_HEAD,
    "align.source_head.module": Node,
    "align.source_samples": whole_number(2),
    "align.recalibrate.penalty": Rule("a number >= 0", _is_number),
    "align.recalibrate.tau": Rule("a number > 0", lambda value: _is_number(value) and value > 0),
    "align.recalibrate.steps": whole_number(1),
    "align.recalibrate.lr": Rule("a number > 0", lambda value: _is_number(value) and value > 0),
    "align.steps": whole_number(1),
    "align.samples": whole_number(2),
    "align.pseudo_labels": whole_number(2),
    "align.lr": Rule("a number > 0", lambda value: _is_number(value) and value > 0),
    "head.name": str,
    "head.module": Node,
    "anchors.name": str,
    "anchors.module": Node,
    "task_loss": Node,
    "distill_losses": Node,
    "regularizers": Node,
    "optimizer": Node,
    "scheduler": Node,
    "trainer.accumulate_grad_batches": whole_number(1),
    "trainer.check_val_every_n_epoch": whole_number(1, optional=True),
    "trainer.gradient_clip_val": Rule("a number >= 0", lambda value: value is None or _is_number(value)),
    "trainer.log_every_n_steps": whole_number(1),
    "trainer.plugins": Rule("a list of what has a _target_", _are_plugins),
    "callbacks": Node,
    "logger": Node,
    "method.name": str,
    "method.strength": Any,
    "method.train": list[Any] | str,
    "method.freeze": list[str] | str,
}
EVALUATE: dict[str, Any] = {
    **COMMON,
    "checkpoint": MODEL,
    "models": MODELS,
    "heads": one_of("own", "zero_shot"),
    "temperature": str | None,
    "averages": dict[str, list[str]] | None,
    "evaluation.test_suite": Node,
    "primary_metric": str,
}
EXPORT: dict[str, Any] = {
    "paths.cache": str,
    "checkpoint": MODEL,
    "model": PART,
    "out": str,
    "format": one_of(OPEN_CLIP, TRANSFORMERS, ONNX, optional=True),
    "license": str | None,
    "push": str | None,
    "private": bool,
    "backbone": Node,
    "peft.prepare": Node,
    "embedder": Node,
}
INTERPOLATE: dict[str, Any] = {
    "merge.alpha": Rule("a number in [0, 1] or a list of them", _are_alphas),
    "merge.head": one_of("interpolate", "rebuild"),
}
"""Settings that the merges among :data:`INTERPOLATIONS` have in addition."""
FISHER: dict[str, Any] = {"merge.samples": whole_number(1)}
"""Settings that ``merge=fisher`` has in addition."""
MERGE: dict[str, Any] = {
    **COMMON,
    "merge": Node,
    "merge.name": str,
    "checkpoint": MODEL,
    "checkpoints": list[str] | None,
    "start": MODEL,
    "model": PART,
    "out": PATH,
    "evaluation.test_suite": Node,
    "primary_metric": str,
}
DIAGNOSE: dict[str, Any] = {
    **COMMON,
    "checkpoint": MODEL,
    "models": MODELS,
    "runs": Rule("null, a folder or pattern, or a list such as [DIR,DIR]", _are_patterns),
}
SIMILARITY: dict[str, Any] = {
    **COMMON,
    "checkpoint": MODEL,
    "first": list[str] | None,
    "second": MODEL,
    "models": MODELS,
    "second_model": PART,
    "split": list[str] | str | None,
    "samples": whole_number(4, optional=True),
    "towers": Rule("a list of image, text or both", _are_towers),
    "tokens": one_of("pooled", "patches"),
    "data.eval_batch_size": whole_number(4),  # the minibatch estimate of CKA needs four samples
}
CHANGED: dict[str, Any] = {
    **COMMON,
    "checkpoint": MODEL,
    "start": MODEL,
    "model": PART,
    "images": whole_number(1),
    "maps": Node | None,
}
UNLABELLED: dict[str, Any] = {
    "paths.cache": str,
    "backbone": Node,
    "peft.prepare": Node,
    "embedder": Node,
    "trainer": Node,
    "checkpoint": str,
    "model": PART,
    "out": str,
    "batch_size": whole_number(1),
    "num_workers": whole_number(0),
    "eval_decoder": one_of("torchvision", "pil"),
    "seed": SEED,
    "rendezvous_timeout": whole_number(1),
    "evaluation.precision": one_of("fp32", "bf16"),
}
"""Settings that the commands for images without labels have in common."""
TEXTS = Rule(
    "null, a list of texts, or a file with one a line", lambda value: isinstance(value, str) or _are_names(value)
)
PREDICT: dict[str, Any] = {
    **UNLABELLED,
    "images": str,
    "classes": TEXTS,
    "templates": TEXTS,
    "heads": one_of("own", "zero_shot"),
    "top": whole_number(1),
    "temperature": Rule(
        "a number > 0 or the folder of an evaluation", lambda value: isinstance(value, str) or _is_number(value)
    ),
}
EMBED: dict[str, Any] = {**UNLABELLED, "images": PATH, "texts": TEXTS, "data": Node}
KERNELS: dict[str, Any] = {"steps": whole_number(1), "kernel": Node | None, "kernels": Node | None, "out": str}
SCHEMAS = {
    "train": TRAIN,
    "evaluate": EVALUATE,
    "export": EXPORT,
    "merge": MERGE,
    "diagnose": DIAGNOSE,
    "similarity": SIMILARITY,
    "changed": CHANGED,
    "kernels": KERNELS,
    "predict": PREDICT,
    "embed": EMBED,
}
"""Schema of each command."""
