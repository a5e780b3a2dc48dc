"""Benchmark of the evaluation of student and teacher on a suite against a plain implementation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tracer_lightning.benchmarks.images import CROP, FLIP, jpegs, write_folder, write_split
from tracer_lightning.benchmarks.measuring import in_turn, ratio, spread
from tracer_lightning.benchmarks.plain_evaluation import PlainEvaluation
from tracer_lightning.data import ShardDataModule, imagenet_classnames, imagenet_templates
from tracer_lightning.evaluation import ClassificationSuite, EvaluationModule
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.models import Backbone, load_clip
from tracer_lightning.scores import Scores
from tracer_lightning.teachers import WMATeacher
from tracer_lightning.types import InputSpec

TOTAL_STEPS = 10
OURS, PLAIN = "ours", "plain"


class BenchmarkSuite(NamedTuple):
    """Numbers of sets, images, classes and templates of the suite."""

    sets: int
    images: int
    """Number of images per set."""
    classes: int
    """Number of classes, the first of ImageNet's."""
    templates: int
    """Number of templates, the first of ImageNet's."""

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
        """Names of the sets."""
        return [f"set{number}" for number in range(self.sets)]


class EvaluationOptions(NamedTuple):
    """Options of the benchmark."""

    model: str
    """Name of an open_clip architecture, which gets random weights."""
    suite: BenchmarkSuite
    batch_size: int
    num_workers: int
    rounds: int
    accelerator: str
    precision: str


def write_suite(root: Path, suite: BenchmarkSuite) -> None:
    """Write the sets as shards and as folders."""
    encoded = jpegs(suite.sets * suite.images, suite.classes)
    for number, name in enumerate(suite.names):
        set_images = encoded[number * suite.images : (number + 1) * suite.images]
        write_split(root / "shards" / name, "test", set_images, suite.classnames)
        write_folder(root / "folders" / name, set_images)


def student_and_teacher(backbone: Backbone, device: torch.device) -> dict[str, nn.Module]:
    """Make a student and a teacher halfway between the initial weights and the student's."""
    student = backbone.model.to(device)
    teacher = WMATeacher(student, BetaKernel(1.0), TOTAL_STEPS)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.01)
    teacher.update(student)
    return {"student": student.eval(), "teacher": teacher.module}


def data_module(root: Path, spec: InputSpec, options: EvaluationOptions, decoder: Any) -> ShardDataModule:
    """Data module of the application on the shards."""
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
    """Evaluate like ``scripts/evaluate.py``: one pass for all models, including the heads."""
    suite = ClassificationSuite(data.eval_sets, data.prompts(), tuple(models))
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
    """Evaluate model by model and set by set with the plain implementation."""
    scores = {}
    for name, model in models.items():
        inner: Any = model
        plain = PlainEvaluation(inner.model, spec, options.precision, options.batch_size, options.num_workers)
        head: Tensor = plain.head(options.suite.classnames, options.suite.captions)
        scores[name] = {each: plain.scores(root / "folders" / each, head) for each in options.suite.names}
    return scores


def candidates(root: Path, options: EvaluationOptions, decoder: str = "torchvision") -> dict[str, Callable[[], Any]]:
    """Functions by name that evaluate both models on the suite, which is written to ``root``, and return the scores."""
    torch.manual_seed(0)
    device = torch.device("cuda" if options.accelerator == "gpu" else "cpu")
    backbone = load_clip(options.model)
    models = student_and_teacher(backbone, device)
    write_suite(root, options.suite)
    data = data_module(root, backbone.spec, options, decoder)

    def ours() -> dict[str, Scores]:
        scores = our_scores(models, data, options)
        for model in models.values():
            model.to(device)  # Lightning leaves them on the CPU
        return scores

    return {OURS: ours, PLAIN: lambda: plain_scores(models, backbone.spec, root, options)}


def measure(options: EvaluationOptions) -> dict[str, Any]:
    """Measure seconds, images per second and peak memory of evaluating both models, and the ratio of the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, peaks = in_turn(candidates(Path(folder), options), options.rounds)
    count = options.suite.sets * options.suite.images
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
