"""A family of models that the package has never heard of: a regressor of vectors, from its batch to its scores."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MeanSquaredError

from tracer_lightning.data import DataModule
from tracer_lightning.evaluation import Suite
from tracer_lightning.functional.distributed import gather
from tracer_lightning.losses import LossTerm
from tracer_lightning.models import Backbone, Model
from tracer_lightning.scores import Metric
from tracer_lightning.types import EvalSet


class VectorBatch(NamedTuple):
    inputs: Tensor  # (B, d)
    targets: Tensor  # (B,), NaN for padding


class VectorFeatures(NamedTuple):
    prediction: Tensor  # (B,)
    target: Tensor  # (B,)

    def detached(self):
        return VectorFeatures(*(value.detach() for value in self))

    def logged(self):
        return {"mean_prediction": self.prediction.detach().mean()}


class Regressor(Model):
    features = VectorFeatures
    parts = ("body", "output")

    def __init__(self, size, width):
        super().__init__()
        self.body, self.output = nn.Sequential(nn.Linear(size, width), nn.GELU()), nn.Linear(width, 1)

    def predict(self, inputs):
        return self.output(self.body(inputs)).squeeze(-1)

    def forward(self, batch, reads):
        return VectorFeatures(gather(self.predict(batch.inputs)), gather(batch.targets))

    @classmethod
    def part_of(cls, name):
        return name.partition(".")[0]


def build_regressor(size: int, width: int) -> Backbone:
    return Backbone(Regressor(size, width), size, {"size": size, "width": width})


class SquaredError(LossTerm):
    features, reads = VectorFeatures, frozenset({"prediction", "target"})

    def forward(self, inputs):
        return (inputs.student.prediction - inputs.student.target).square().mean()


class PredictionDistillation(LossTerm):
    features, reads, needs_teacher = VectorFeatures, frozenset({"prediction"}), True

    def forward(self, inputs):
        return (inputs.student.prediction - inputs.teacher.prediction).square().mean()


class RegressionSuite(Suite):
    metrics = (Metric("rmse", "RMSE", "RMSE", better="lower", percent=False),)

    def __init__(self, eval_sets, models):
        super().__init__(eval_sets)
        self.errors = nn.ModuleDict(
            {m: nn.ModuleList(MeanSquaredError(squared=False) for _ in eval_sets) for m in models}
        )

    def start(self, models, untrained=False):
        super().start(models)
        for name in models:
            for error in self.errors[name]:
                error.reset()

    @torch.no_grad()
    def update(self, batch, set_index):
        counted = ~batch.targets.isnan()
        for name, model in self._models.items():
            self.errors[name][set_index].update(model.predict(batch.inputs)[counted], batch.targets[counted])

    def score(self, model, set_index):
        error = self.errors[model][set_index]
        return {"n": int(error.total), "rmse": float(error.compute())}, {}


class Vectors(Dataset):
    """sin(3 x_0) + x_1 of vectors around a centre, drawn by a seed."""

    def __init__(self, samples, size, centre, seed):
        self.inputs = centre + torch.randn(samples, size, generator=torch.Generator().manual_seed(seed))
        self.targets = (3 * self.inputs[:, 0]).sin() + self.inputs[:, 1]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, key):
        _, index = key
        padding = torch.full((), float("nan"))
        return self.inputs[index], self.targets[index] if index >= 0 else padding


class VectorDataModule(DataModule):
    eval_sets = (EvalSet("near", "test", "id"), EvalSet("far", "test", "ood"))
    val_set = EvalSet("near", "val", "id")

    def __init__(self, samples: int, **loading) -> None:
        super().__init__(**loading)
        self.samples = samples

    def train_dataset(self):
        return Vectors(self.samples, self.spec, 0.0, seed=0)

    def eval_dataset(self, eval_set):
        return Vectors(100, self.spec, 0.0 if eval_set.name == "near" else 1.0, seed=1 + (eval_set.split == "test"))

    def collate(self):
        return lambda samples: VectorBatch(*map(torch.stack, zip(*samples, strict=True)))
