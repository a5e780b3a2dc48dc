"""Evaluation of student and teacher on a suite, against a plain one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tracer_lightning.benchmarks.measuring import in_turn, ratio, spread
from tracer_lightning.benchmarks.pictures import CROP, FLIP, jpegs, write_folder, write_split
from tracer_lightning.benchmarks.plain_evaluation import PlainEvaluation
from tracer_lightning.data import ShardDataModule, imagenet_classnames, imagenet_templates
from tracer_lightning.evaluation import EvaluationModule, Scores, ZeroShotSuite
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.models import Backbone, load_clip
from tracer_lightning.teachers import WMATeacher
from tracer_lightning.types import InputSpec

TOTAL_STEPS = 10
OURS, PLAIN = "ours", "plain"


class Suite(NamedTuple):
    """What is evaluated on."""

    sets: int
    pictures: int
    """Of each set."""
    classes: int
    """The first of ImageNet's."""
    templates: int
    """The first of ImageNet's."""

    @property
    def classnames(self) -> list[str]:
        """Names of the classes."""
        return list(imagenet_classnames()[: self.classes])

    @property
    def captions(self) -> list[str]:
        """Templates of the head."""
        return list(imagenet_templates()[: self.templates])

    @property
    def names(self) -> list[str]:
        """Of the sets."""
        return [f"set{number}" for number in range(self.sets)]


class EvaluationOptions(NamedTuple):
    """What is measured."""

    model: str
    """An open_clip architecture, with random weights."""
    suite: Suite
    batch_size: int
    num_workers: int
    rounds: int
    accelerator: str
    precision: str


def write_suite(root: Path, suite: Suite) -> None:
    """The sets as shards and as folders."""
    encoded = jpegs(suite.sets * suite.pictures, suite.classes)
    for number, name in enumerate(suite.names):
        mine = encoded[number * suite.pictures : (number + 1) * suite.pictures]
        write_split(root / "shards" / name, "test", mine, suite.classnames)
        write_folder(root / "folders" / name, mine)


def student_and_teacher(backbone: Backbone, device: torch.device) -> dict[str, nn.Module]:
    """Two models that differ: the teacher's is halfway between the first weights and the student's."""
    student = backbone.model.to(device)
    teacher = WMATeacher(student, BetaKernel(1.0), TOTAL_STEPS)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.01)
    teacher.update(student)
    return {"student": student.eval(), "teacher": teacher.module}


def data_module(root: Path, spec: InputSpec, options: EvaluationOptions, decoder: Any) -> ShardDataModule:
    """The application's data module on the shards."""
    suite = options.suite
    data = ShardDataModule(
        spec,
        str(root / "shards"),
        train={"folder": suite.names[0], "split": "test"},
        suite={name: {"folder": name, "split": "test", "role": "ood"} for name in suite.names},
        texts={"classnames": suite.classnames, "templates": suite.captions, "train_templates": None},
        augmentation={"crop_scale": CROP, "flip": FLIP},
        eval_decoder=decoder,
        cache_dir=str(root / "cache"),
        batch_size=options.batch_size,
        eval_batch_size=options.batch_size,
        num_workers=options.num_workers,
        seed=0,
        max_bad_fraction=0.0,
    )
    data.trains = False
    return data


def our_scores(models: dict[str, nn.Module], data: ShardDataModule, options: EvaluationOptions) -> dict[str, Scores]:
    """Those of ``scripts/evaluate.py``: one pass for all models, heads included."""
    suite = ZeroShotSuite(data.eval_sets, data.prompts(), tuple(models))
    module = EvaluationModule(models, suite)
    trainer = pl.Trainer(
        accelerator=options.accelerator,
        devices=1,
        precision=options.precision,  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.test(module, datamodule=data, verbose=False)
    return module.results


def plain_scores(
    models: dict[str, nn.Module], spec: InputSpec, root: Path, options: EvaluationOptions
) -> dict[str, dict[str, dict[str, float]]]:
    """Model by model, set by set."""
    found = {}
    for name, model in models.items():
        inner: Any = model
        plain = PlainEvaluation(inner.model, spec, options.precision, options.batch_size, options.num_workers)
        head: Tensor = plain.head(options.suite.classnames, options.suite.captions)
        found[name] = {each: plain.scores(root / "folders" / each, head) for each in options.suite.names}
    return found


def entered(root: Path, options: EvaluationOptions, decoder: str = "torchvision") -> dict[str, Callable[[], Any]]:
    """Name to what evaluates both models on the whole suite, written below ``root``, and returns the scores."""
    torch.manual_seed(0)
    device = torch.device("cuda" if options.accelerator == "gpu" else "cpu")
    backbone = load_clip(options.model)
    models = student_and_teacher(backbone, device)
    write_suite(root, options.suite)
    data = data_module(root, backbone.spec, options, decoder)

    def ours() -> dict[str, Scores]:
        found = our_scores(models, data, options)
        for model in models.values():
            model.to(device)  # Lightning leaves them on the processor
        return found

    return {OURS: ours, PLAIN: lambda: plain_scores(models, backbone.spec, root, options)}


def measure(options: EvaluationOptions) -> dict[str, Any]:
    """Seconds of whole evaluations of both models, pictures a second, their ratio, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, peaks = in_turn(entered(Path(folder), options), options.rounds)
    count = options.suite.sets * options.suite.pictures
    return {
        "options": {**options._asdict(), "suite": options.suite._asdict()},
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "images per second": {name: spread(_rates(count, values)) for name, values in seconds.items()},
        "plain / ours": ratio(seconds[PLAIN], seconds[OURS]),
        "peak memory": peaks,
        "rounds": seconds,
    }


def _rates(count: int, seconds: Sequence[float]) -> list[float]:
    return [count / value for value in seconds]
