"""Which checkpoint a run continues from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from filelock import FileLock, Timeout
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from tracer_lightning.config.types_check import shortened
from tracer_lightning.config.validate import without_nulls
from tracer_lightning.data import DataModule
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.run_folder import CONFIG, DETAILS, RESULTS
from tracer_lightning.functional.steps import check_horizon
from tracer_lightning.models.files import CHECKPOINT
from tracer_lightning.reporting.files import read_yaml
from tracer_lightning.storage import remove_stale
from tracer_lightning.storage.checkpoints import NEXT, PREVIOUS, is_intact

STRUCTURE = (
    "backbone.",
    "peft.",
    "data.held_out.",
    "batch_norm",
    "trainable_layers",
    "teacher.",
    "kernel.",
    "reproduce.",
    "method.train",
    "method.freeze",
    "head.",
    "optimizer._target_",
    "scheduler._target_",
)
"""Settings without which the state of a checkpoint does not fit."""
ORIGIN = ("prerequisite", "init_weights")
"""Where the run began, and so what it is compared with."""
RESTORED = ("optimizer.", "scheduler.")
"""Settings whose values come with the checkpoint."""
COMPARED = (
    *STRUCTURE,
    *ORIGIN,
    *RESTORED,
    "seed",
    "data.",
    "task_loss.",
    "distill_losses.",
    "anchors.",
    "regularizers.",
    "method.",
    "positives",
)
NOT_COMPARED = ("run", "resume", "paths", "rendezvous")
"""Settings in which a run and its continuation may differ."""


def checkpoint_to_resume(cfg: DictConfig) -> Path | None:
    """The checkpoint that ``resume`` names; None to start anew.

    A run that began elsewhere and has checkpoints of its own goes on from those, so that its command may be repeated.

    ``auto`` continues this run's folder or, where the run was given no name, the last unfinished run of the same
    settings, in its folder: ``paths.output_dir`` is changed to it.
    """
    own = Path(cfg.paths.output_dir)
    if cfg.resume is None:
        if _checkpoints(own):
            raise ValueError(f"run={cfg.run}: {own} holds a run already; continue it with resume=auto, or rename")
        return None
    if cfg.resume == "auto":
        unfinished = own if _checkpoints(own) else _last_unfinished(cfg)
        if unfinished is None:
            print_rank_zero("resume=auto: no unfinished run of these settings, starting anew")
            return None
        cfg.paths.output_dir = str(unfinished)
        return _newest_intact(unfinished)
    path = Path(cfg.resume)
    if path.is_dir():
        path = _newest_intact(path) if _checkpoints(path) else path / CHECKPOINT
    if not path.is_file():
        raise ValueError(f"resume={cfg.resume}: no checkpoint at {path}; give a checkpoint, a run folder, or auto")
    if _checkpoints(own) and path.parent.resolve() != (own / CHECKPOINT).parent.resolve():
        print_rank_zero(f"resume={cfg.resume}: {own} holds a run already, which is continued instead")
        return _newest_intact(own)
    return path


def _checkpoints(folder: Path) -> list[Path]:
    """Of a run's folder, the newest first."""
    last = folder / CHECKPOINT
    return [path for path in (last, last.with_name(PREVIOUS)) if path.exists()]


def _newest_intact(folder: Path) -> Path:
    """The newest checkpoint of a run's folder that is not damaged."""
    found = _checkpoints(folder)
    for path in found:
        if is_intact(path):
            if path.name == PREVIOUS:
                print_rank_zero(
                    f"warning: {folder / CHECKPOINT} is damaged or missing; the checkpoint before it is in force"
                )
            return path
    raise ValueError(
        f"resume: {' and '.join(map(str, found))} {'is' if len(found) == 1 else 'are'} damaged; delete the checkpoints "
        "to start anew"
    )


@contextmanager
def lock_run_dir(folder: Path, anew: bool) -> Iterator[None]:
    """Keep other runs out of the folder while this one writes there, and remove what a former one left unfinished.

    A run that begins ``anew`` has no results yet: those of a former one, whose checkpoints were deleted, go, too.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".running", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"run: another process writes in {folder}; give this run a name with run=NAME") from None
    try:
        checkpoints = (folder / CHECKPOINT).parent
        for written in (folder, checkpoints):
            remove_stale(written)
        for stale in (checkpoints / NEXT, *((folder / RESULTS, folder / DETAILS) if anew else ())):
            stale.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _last_unfinished(cfg: DictConfig) -> Path | None:
    if not _is_unnamed(cfg):
        return None
    settings = _compared(OmegaConf.to_container(cfg, resolve=True))
    runs = Path(cfg.paths.outputs) / cfg.name
    found: list[Path] = [path.parent for depth in ("*", "*/*") for path in runs.glob(f"{depth}/{CONFIG}")]
    for folder in sorted(found, key=lambda folder: (folder / CONFIG).stat().st_mtime, reverse=True):
        unfinished = _checkpoints(folder) and not (folder / RESULTS).exists()
        if unfinished and _written_by(folder) == settings:
            return folder
    return None


def _written_by(folder: Path) -> Any:
    """The settings of the run in the folder; None where they can't be read."""
    try:
        return _compared(read_yaml(folder / CONFIG))
    except (ValueError, KeyError, TypeError) as error:
        print_rank_zero(f"resume=auto: {folder} is passed over ({error})")
        return None


def _is_unnamed(cfg: DictConfig) -> bool:
    written: Any = OmegaConf.to_container(cfg, resolve=False)
    return "${now:" in str(written["run"])


def _compared(settings: Any) -> Any:
    """Settings without what names or places the run, wherever its folder is mentioned."""
    own = settings["paths"]["output_dir"]

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [without(entry) for entry in value]
        return value.replace(own, "") if isinstance(value, str) else value

    return without(without_nulls({name: value for name, value in settings.items() if name not in NOT_COMPARED}))


def compare_settings(saved: dict[str, Any], cfg: DictConfig) -> None:
    """Refuse to continue with another model, teacher, optimizer or origin, and say which other settings differ.

    Args:
        saved: the settings of the checkpoint.
        cfg: those of this run.
    """
    now = dict(_flat(OmegaConf.to_container(cfg, resolve=True)))
    before = dict(_flat(saved))
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key) and key.startswith(COMPARED)]
    for key in changed:
        values = f"this run has {shortened(now.get(key))} and the checkpoint {shortened(before.get(key))}"
        if key.startswith((*STRUCTURE, *ORIGIN)):
            raise ValueError(
                f"{key[:100]}: {values}; continue with the same, or start a new run from the checkpoint with "
                "init_weights="
            )
        force = "the checkpoint's" if key.startswith(RESTORED) else "this run's"
        print_rank_zero(f"{key[:100]}: {values}; {force} value is in force")


def check_position(saved: dict[str, Any], trainer: pl.Trainer, data: DataModule) -> None:
    """Refuse, before anything is written, to continue with other training data or another number of steps.

    Lightning would find both when training begins; a number of batches that is limited is left to it.

    Args:
        saved: the checkpoint.
        trainer: of this run.
        data: of this run.
    """
    if trainer.local_rank == 0:
        data.prepare_data()
    loader = data.train_loader()
    state = saved.get(type(data).__qualname__, {})
    if not isinstance(state, dict):
        raise ValueError(f"the checkpoint's position in the training data must be a mapping, found {state!r:.100}")
    if "sampler" in state:
        loader.sampler.load_state_dict(state["sampler"])
    options: Any = trainer
    limited = options.limit_train_batches != 1.0 or options.overfit_batches
    steps = -(-len(loader) // options.accumulate_grad_batches) * max(options.max_epochs, 1)
    ends = [end for end in (steps if options.max_epochs != -1 else -1, options.max_steps) if end != -1]
    if ends and not limited:
        check_horizon(min(ends), saved["total_steps"])


def _flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def advice(cfg: DictConfig) -> str:
    """How a user continues this run."""
    if cfg.resume == "auto":
        return "the same command continues it"
    if _is_unnamed(cfg):
        return "the same command with resume=auto continues it"
    return f"the same command with resume=auto continues {cfg.paths.output_dir}"
