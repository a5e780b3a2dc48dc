"""What must hold of a configuration before anything is built from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tracer_lightning.config.limits import TESTS, TRAINS, check_limits
from tracer_lightning.config.schema import CHANGED, DIAGNOSE, EVALUATE, MERGE, SIMILARITY, TRAIN
from tracer_lightning.config.types_check import check_types
from tracer_lightning.evaluation import METRICS

CURVES = {"wise_ft": "WiSE-FT", "fisher": "Fisher-weighted WiSE-FT"}
"""Merges of a model with its start, which have an alpha, and what pictures call them."""
MOST_PICTURES = 20
"""In a row of a figure."""


def without_nulls(settings: Any) -> Any:
    """Nested settings without those that are null: null and absent are the same."""
    if isinstance(settings, dict):
        return {name: without_nulls(value) for name, value in settings.items() if value is not None}
    return settings


def check_complete(cfg: DictConfig) -> None:
    """Raise ValueError for the first setting that is missing."""
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"{key} is not set and has no default; give it as {key}=VALUE")


def check_evaluation(cfg: DictConfig) -> None:
    """Raise ValueError for the first setting of an evaluation that is missing or impossible."""
    check_complete(cfg)
    check_types(cfg, EVALUATE)
    settings: Any = cfg
    _check_headline(settings)
    _check_data(settings)
    _check_models(settings)
    if settings.heads not in ("own", "zero_shot"):
        raise ValueError(f"heads must be own or zero_shot, found {settings.heads!r}")


def check_diagnosis(cfg: DictConfig) -> None:
    """Raise ValueError for the first setting of a diagnosis that is missing or impossible."""
    check_complete(cfg)
    check_types(cfg, DIAGNOSE)
    settings: Any = cfg
    _check_data(settings)
    _check_models(settings)
    several = isinstance(settings.runs, Sequence) and len(settings.runs) > 0
    if settings.runs is not None and not (several and all(isinstance(pattern, str) for pattern in settings.runs)):
        raise ValueError(
            f"runs must be null, a folder or pattern, or a list such as [DIR,DIR], found {settings.runs!r}"
        )


def check_changed(cfg: DictConfig) -> None:
    """Raise ValueError for the first setting of a comparison that is missing or impossible."""
    check_complete(cfg)
    check_types(cfg, CHANGED)
    settings: Any = cfg
    _check_data(settings)
    check_whole(settings.pictures, "pictures", 1)
    if settings.pictures > MOST_PICTURES:
        raise ValueError(f"pictures must be at most {MOST_PICTURES}, or they are too small; found {settings.pictures}")
    _check_one_of_a_run(settings)
    if settings.checkpoint is None:
        raise ValueError("checkpoint is not set; give the folder of a run as checkpoint=")


def _check_one_of_a_run(settings: Any) -> None:
    if settings.model not in ("student", "teacher"):
        raise ValueError(f"model must be student or teacher, found {settings.model!r}")
    for key in ("checkpoint", "start"):
        if not isinstance(settings[key], str | None):
            raise ValueError(f"{key} must be a path, a name or null, found {settings[key]}")


def _check_models(settings: Any) -> None:
    if not isinstance(settings.models, Sequence | None) or isinstance(settings.models, str):
        raise ValueError(f"models must be null or a list such as [student], found {settings.models!r}")
    if not isinstance(settings.checkpoint, str | None):
        raise ValueError(f"checkpoint must be a path or a name, found {settings.checkpoint}")


def _check_headline(settings: Any) -> None:
    if settings.primary_metric not in METRICS:
        raise ValueError(f"primary_metric must be one of {', '.join(METRICS)}, found {settings.primary_metric!r}")


def _check_data(settings: Any) -> None:
    check_whole(settings.seed, "seed", 0)
    check_whole(settings.rendezvous, "rendezvous", 1)
    check_limits(settings.trainer, TESTS)
    if settings.suite and "suite" not in settings.data:
        raise ValueError(
            "suite names test sets of shards, and these data have their own; choose data=shards or the like"
        )


def check_settings(cfg: DictConfig) -> None:
    """Raise ValueError for the first setting of a run that is missing or impossible."""
    check_complete(cfg)
    check_types(cfg, TRAIN)
    settings: Any = cfg
    _check_headline(settings)
    _check_data(settings)
    check_whole(settings.trainer.accumulate_grad_batches, "trainer.accumulate_grad_batches", 1)
    check_whole(settings.trainer.log_every_n_steps, "trainer.log_every_n_steps", 1)
    if settings.trainer.check_val_every_n_epoch is not None:
        check_whole(settings.trainer.check_val_every_n_epoch, "trainer.check_val_every_n_epoch", 1)
    check_limits(settings.trainer, TRAINS)
    if settings.optimized_metric is not None and settings.trainer.get("limit_val_batches") == 0:
        raise ValueError(
            f"optimized_metric={settings.optimized_metric}: trainer.limit_val_batches=0 leaves no validation to go by"
        )
    for key in ("resume", "init_weights"):
        if not isinstance(settings[key], str | None):
            raise ValueError(f"{key} must be a path or null, found {settings[key]!r}")
    required = settings.prerequisite
    if required is not None and not (isinstance(required, Mapping) and set(required) == {"experiment", "overrides"}):
        raise ValueError(f"prerequisite must be null or have experiment and overrides, found {required!r}")


def check_whole(value: Any, key: str, least: int) -> None:
    """Raise ValueError unless ``value`` is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{key} must be a whole number >= {least}, found {value!r}")


def check_merge(cfg: DictConfig) -> None:
    """Raise ValueError for the first setting of a merge that is missing or impossible."""
    check_complete(cfg)
    check_types(cfg, MERGE)
    settings: Any = cfg
    _check_headline(settings)
    _check_data(settings)
    _check_one_of_a_run(settings)
    if not isinstance(settings.out, str | None):
        raise ValueError(f"out must be a path or null, found {settings.out}")
    if settings.merge.name in CURVES:
        _check_alphas(settings)
        if settings.merge.name == "fisher":
            check_whole(settings.merge.samples, "merge.samples", 1)
        if settings.merge.head not in ("interpolate", "rebuild"):
            raise ValueError(f"merge.head must be interpolate or rebuild, found {settings.merge.head!r}")
        if settings.checkpoint is None or settings.checkpoints is not None:
            name = settings.merge.name
            raise ValueError(f"merge={name} takes one model, and merges it with its start; give it as checkpoint=")
        return
    several = settings.checkpoints or []
    if len(several) < 2 or len(set(several)) < len(several) or settings.checkpoint != several[0]:
        raise ValueError(
            "merge=model_stock takes two or more different models, and no checkpoint= beside them; give them as "
            f"checkpoints=RUN1,RUN2; found {', '.join(map(str, several)) or settings.checkpoint}"
        )


def _check_alphas(settings: Any) -> None:
    value = settings.merge.alpha
    alphas = [*value] if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    for alpha in alphas or [None]:
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
            raise ValueError(f"merge.alpha must be a number in [0, 1] or a list of them, found {alpha!r}")
    if settings.out is not None and len(alphas) > 1:
        raise ValueError(f"out={settings.out} takes one model; choose one of the {len(alphas)} alphas, as in alpha=0.5")


def check_similarity(cfg: DictConfig) -> None:
    """Raise ValueError for the first setting of a comparison that is missing or impossible."""
    check_complete(cfg)
    check_types(cfg, SIMILARITY)
    settings: Any = cfg
    _check_data(settings)
    _check_models(settings)
    first = settings.first or []
    if not first or len(set(first)) < len(first) or settings.checkpoint != first[0]:
        raise ValueError(
            "first must name one or more different models, and no checkpoint= beside it, as in first=RUN or "
            f"first=RUN1,RUN2; found {', '.join(map(str, first)) or settings.checkpoint}"
        )
    if not isinstance(settings.second, str | None):
        raise ValueError(f"second must be a path, a name or null, found {settings.second}")
    for key, known in (("second_model", ("student", "teacher")), ("tokens", ("pooled", "patches"))):
        if settings[key] not in known:
            raise ValueError(f"{key} must be {' or '.join(known)}, found {settings[key]!r}")
    towers = settings.towers
    if isinstance(towers, str) or not towers or not set(towers) <= {"image", "text"}:
        raise ValueError(f"towers must be a list of image, text or both, found {towers}")
    check_whole(settings.data.eval_batch_size, "data.eval_batch_size", 4)  # the estimate of a minibatch needs them
    if settings.samples is not None:
        check_whole(settings.samples, "samples", 4)
