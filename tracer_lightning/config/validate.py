"""Validation of a command's configuration before anything is built from it.

:func:`validate` is the only entry point. What it can't know are the arguments of a ``_target_``, which
:func:`~tracer_lightning.config.build.make` compares with the annotations of the target, and what follows from built
objects, which :func:`~tracer_lightning.config.check_built.check_built` checks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tracer_lightning.callbacks import ClipSchedule
from tracer_lightning.config.limits import TEST_LIMITS, TRAIN_LIMITS, check_end, check_limits
from tracer_lightning.config.schema import FISHER, INTERPOLATE, INTERPOLATIONS, SCHEMAS, Rule, one_of
from tracer_lightning.config.type_checks import TARGET, check_type_of, target_of
from tracer_lightning.engine.settings import shortened

SUITE_OPTIONS = ("temperature", "averages")
"""Settings of the command ``evaluate`` that are arguments of the suite where they are not null."""
MAX_IMAGES = 20
"""Greatest number of images in a row of a figure."""


def validate(cfg: DictConfig, command: str) -> None:
    """Check a command's configuration: complete, of the right types and ranges, and consistent.

    Args:
        cfg: composed configuration, with the settings of its checkpoint filled in.
        command: name of the command, a key of :data:`~tracer_lightning.config.schema.SCHEMAS`.

    Raises:
        ValueError: a setting is missing or invalid; the message names it.
    """
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"{key} is not set and has no default; give it as {key}=VALUE")
    check_schema(cfg, SCHEMAS[command])
    for check in CHECKS[command]:
        check(cfg)


def check_schema(cfg: DictConfig, schema: dict[str, Any]) -> None:
    """Raise ValueError for the first setting that is missing, or of another type or range than its schema says."""
    for key, expected in schema.items():
        group, _, name = key.rpartition(".")
        parent = OmegaConf.select(cfg, group) if group else cfg
        if not isinstance(parent, DictConfig) or name not in parent:
            raise ValueError(f"{key} is required but missing; it was removed or replaced")
        value: Any = parent[name]
        if not isinstance(expected, Rule):
            check_type_of(value, expected, key)
            continue
        plain = OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value
        if not expected.accepts(plain):
            raise ValueError(f"{key} must be {expected.description}, found {shortened(plain)}")


def _check_suite(cfg: DictConfig) -> None:
    if cfg.suite and "suite" not in cfg.data:
        raise ValueError(
            "suite names test sets of shards, and these data have their own; choose data=shards or the like"
        )


def _check_test_limits(cfg: DictConfig) -> None:
    check_limits(cfg.trainer, TEST_LIMITS)


def _check_train_limits(cfg: DictConfig) -> None:
    check_limits(cfg.trainer, TRAIN_LIMITS)
    check_end(cfg.trainer)


def _check_modality(cfg: DictConfig) -> None:
    """Is there an embedder for stage 1 to learn, and are no images shown where there are none?"""
    if not cfg.embedder:
        if cfg.align.transport is not None or cfg.align.labels is not None:
            raise ValueError(
                f"align={cfg.align.name} learns an embedder, and embedder=pixels has none to learn; choose "
                "embedder=conv1d or conv2d, or align=none"
            )
        settings = {"source": cfg.align.source is not None, "recalibrate.penalty": cfg.align.recalibrate.penalty > 0}
        for name in (name for name, is_set in settings.items() if is_set):
            raise ValueError(
                f"align.{name} is for stage 1, which embedder=pixels doesn't have; leave it out, or choose "
                "embedder=conv1d or conv2d"
            )
    if cfg.embedder and OmegaConf.select(cfg, "callbacks.report.images"):
        raise ValueError(
            "callbacks.report.images must be 0 with an embedder of another modality: its samples are no images"
        )
    if cfg.embedder and cfg.compute.channels_last:
        raise ValueError(
            "compute.channels_last must be false with an embedder of another modality: it is a layout for the "
            "convolutions of ResNets"
        )


def _check_clipping(cfg: DictConfig) -> None:
    """Are gradients clipped to one norm only?"""
    norm = cfg.trainer.get("gradient_clip_val")
    for name, callback in cfg.callbacks.items():
        target = callback.get(TARGET) if isinstance(callback, DictConfig) else None
        if norm is not None and target is not None and target_of(target, f"callbacks.{name}") is ClipSchedule:
            raise ValueError(
                f"trainer.gradient_clip_val={norm} is a second norm to clip gradients to, beside callbacks.{name}; set "
                "trainer.gradient_clip_val=null"
            )


def _test_suite(cfg: DictConfig) -> Any:
    """The class or function that makes the test suite."""
    return target_of(cfg.evaluation.test_suite.get(TARGET), "evaluation.test_suite")


def _shown_metrics(cfg: DictConfig) -> list[str]:
    declared = getattr(_test_suite(cfg), "declared_metrics", lambda settings: ())
    return [metric.name for metric in declared(cfg.evaluation.test_suite) if metric.shown]


def _check_primary_metric(cfg: DictConfig) -> None:
    """Is the primary metric among those that the suite declares?"""
    check_schema(cfg, {"primary_metric": one_of(*_shown_metrics(cfg))})


def _check_optimized_metric(cfg: DictConfig) -> None:
    """Is the optimized metric among those that the suite declares, and does the run measure it?"""
    check_schema(cfg, {"optimized_metric": one_of(*_shown_metrics(cfg), optional=True)})
    if cfg.optimized_metric is not None and cfg.trainer.get("limit_val_batches") == 0:
        raise ValueError(
            f"optimized_metric={cfg.optimized_metric}: trainer.limit_val_batches=0 leaves no validation to go by"
        )


def _check_suite_options(cfg: DictConfig) -> None:
    """Does the suite take what the command would have it do?"""
    parameters = inspect.signature(_test_suite(cfg)).parameters
    for name in SUITE_OPTIONS:
        if cfg[name] is not None and name not in parameters:
            raise ValueError(
                f"{name} must be null, because {cfg.evaluation.test_suite[TARGET]} doesn't take it; found {cfg[name]}"
            )


def _check_images(cfg: DictConfig) -> None:
    if cfg.images > MAX_IMAGES:
        raise ValueError(f"images must be at most {MAX_IMAGES}, or they are too small; found {cfg.images}")


def _check_checkpoint_is_set(cfg: DictConfig) -> None:
    if cfg.checkpoint is None:
        raise ValueError("checkpoint is not set; give the folder of a run as checkpoint=")


def _check_merge(cfg: DictConfig) -> None:
    name, checkpoints = cfg.merge.name, cfg.checkpoints or []
    if name in INTERPOLATIONS:
        check_schema(cfg, INTERPOLATE | (FISHER if name == "fisher" else {}))
        if cfg.out is not None and OmegaConf.is_list(cfg.merge.alpha) and len(cfg.merge.alpha) > 1:
            raise ValueError(
                f"out={cfg.out} takes one model; choose one of the {len(cfg.merge.alpha)} alphas, as in alpha=0.5"
            )
        if cfg.checkpoint is None or cfg.checkpoints is not None:
            raise ValueError(f"merge={name} takes one model, and merges it with its start; give it as checkpoint=")
    elif len(checkpoints) < 2 or len(set(checkpoints)) < len(checkpoints) or cfg.checkpoint != checkpoints[0]:
        raise ValueError(
            "merge=model_stock takes two or more different models, and no checkpoint= beside them; give them as "
            f"checkpoints=RUN1,RUN2; found {', '.join(checkpoints) or cfg.checkpoint}"
        )


def _check_first(cfg: DictConfig) -> None:
    first = cfg.first or []
    if not first or len(set(first)) < len(first) or cfg.checkpoint != first[0]:
        raise ValueError(
            "first must name one or more different models, and no checkpoint= beside it, as in first=RUN or "
            f"first=RUN1,RUN2; found {', '.join(first) or cfg.checkpoint}"
        )


def _check_inputs(cfg: DictConfig) -> None:
    if (cfg.images is None) == (cfg.texts is None):
        raise ValueError("images and texts are both null, or both set; give one of them")


def _check_features_file(cfg: DictConfig) -> None:
    if Path(cfg.out).suffix not in (".npy", ".parquet"):
        raise ValueError(f"out must end in .npy or .parquet, found {cfg.out}")


EVALUATION = (_check_test_limits, _check_suite)
"""Checks of all commands that read test sets."""
CHECKS: dict[str, tuple[Callable[[DictConfig], None], ...]] = {
    "train": (
        *(*EVALUATION, _check_train_limits, _check_clipping, _check_modality),
        *(_check_primary_metric, _check_optimized_metric),
    ),
    "evaluate": (*EVALUATION, _check_primary_metric, _check_suite_options),
    "export": (),
    "merge": (*EVALUATION, _check_primary_metric, _check_merge),
    "diagnose": EVALUATION,
    "similarity": (*EVALUATION, _check_first),
    "changed": (*EVALUATION, _check_images, _check_checkpoint_is_set),
    "kernels": (),
    "predict": (_check_test_limits,),
    "embed": (_check_test_limits, _check_inputs, _check_features_file),
}
"""Checks of several settings against one another, by command; they run after the schema."""
