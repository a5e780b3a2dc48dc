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
}
TRAIN: dict[str, Any] = {
    **COMMON,
    "paths.outputs": str,
    "paths.prerequisites": str,
    "headline": str,
    "resume": Any,
    "init_weights": Any,
    "prerequisite": Any,
    "batch_norm": str,
    "objective": str | None,
    "floor": float | None,
    **dict.fromkeys(("compute.gradient_checkpointing", "compute.channels_last", "compute.compile"), bool),
    "parity.ece_per_batch": bool,
    "kernel": Node,
    "teacher.every_n_steps": int,
    "teacher.module": Node,
    "head.name": str,
    "head.make": Node,
    "anchors.name": str,
    "anchors.make": Node,
    "task": Node,
    "terms": Node,
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
