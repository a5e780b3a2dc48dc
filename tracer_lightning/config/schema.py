"""Types of the settings that no ``_target_`` checks; ``Any`` where more than a type is checked elsewhere."""

from __future__ import annotations

from typing import Any

Node = dict[Any, Any]
COMMON: dict[str, Any] = {
    "name": str,
    "run": str,
    "seed": Any,
    "paths.output_dir": str,
    "backbone": Node,
    "peft.prepare": Node,
    "suite": Node,
    "data": Node,
    "trainer": Node,
    "evaluation.precision": Any,
}
TRAIN: dict[str, Any] = {
    **COMMON,
    "paths.outputs": str,
    "paths.prerequisites": str,
    "primary_metric": str,
    "resume": Any,
    "init_weights": Any,
    "prerequisite": Any,
    "batch_norm": str,
    "trainable_layers": Any,
    "optimized_metric": str | None,
    "min_accuracy": float | None,
    **dict.fromkeys(("compute.gradient_checkpointing", "compute.channels_last", "compute.compile"), bool),
    "reproduce.ece_per_batch": bool,
    "reproduce.logits_in_bf16": bool,
    "reproduce.distillation_from": int,
    "reproduce.rows_of_captions": bool,
    "reproduce.texts": str,
    "kernel": Node,
    "teacher.every_n_steps": int,
    "teacher.module": Node,
    "head.name": str,
    "head.make": Node,
    "anchors.name": str,
    "anchors.make": Node,
    "task_loss": Node,
    "distill_losses": Node,
    "regularizers": Node,
    "optimizer": Node,
    "scheduler": Node,
    "callbacks": Node,
    "logger": Node,
    "method.name": str,
    "method.strength": Any,
    "method.train": list[Any] | str,
    "method.freeze": list[str] | str,
}
"""Of train.py."""
Names = list[str] | str | None
EVALUATE: dict[str, Any] = {
    **COMMON,
    "checkpoint": Any,
    "models": Names,
    "heads": Any,
    "temperature": str | None,
    "averages": dict[str, list[str]] | None,
    "primary_metric": str,
}
"""Of scripts/evaluate.py."""
EXPORT: dict[str, Any] = {
    "checkpoint": str,
    "model": str,
    "out": str,
    "push": str | None,
    "private": bool,
    "backbone": Node,
    "peft.prepare": Node,
}
"""Of scripts/export.py."""
MERGE: dict[str, Any] = {
    **COMMON,
    "merge": Node,
    "merge.name": str,
    "checkpoint": Any,
    "checkpoints": list[str] | None,
    "start": Any,
    "model": str,
    "out": Any,
    "primary_metric": str,
}
"""Of scripts/merge.py."""
DIAGNOSE: dict[str, Any] = {**COMMON, "checkpoint": Any, "models": Names, "runs": Any}
"""Of scripts/diagnose.py."""
SIMILARITY: dict[str, Any] = {
    **COMMON,
    "checkpoint": Any,
    "first": list[str] | None,
    "second": Any,
    "models": Names,
    "second_model": str,
    "split": Names,
    "samples": Any,
    "towers": Names,
    "tokens": str,
}
"""Of scripts/similarity.py."""
CHANGED: dict[str, Any] = {
    **COMMON,
    "checkpoint": Any,
    "start": Any,
    "model": str,
    "pictures": Any,
    "maps": Node | None,
}
"""Of scripts/changed.py."""
