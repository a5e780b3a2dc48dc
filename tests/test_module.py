from functools import partial

import numpy as np
import pytest
import torch

from tests.training_helpers import Losses, Trajectory, make_data, make_module, make_trainer
from tracer_lightning.data import DigitsDataModule
from tracer_lightning.data.digits.datamodule import TensorSource
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.losses import FeatureDistillation, WeightedSum
from tracer_lightning.models import build_clip
from tracer_lightning.models.peft import add_lora, train_only
from tracer_lightning.module import TracerModule
from tracer_lightning.teachers import NoTeacher, WMATeacher

GOLDEN = [
    8.432109137875717,
    8.687399021476356,
    7.732011538165698,
    7.54492962445487,
    7.462401310429452,
    7.359322316193108,
    7.085297433724754,
    7.150187835983028,
    7.008686147443833,
    7.023549714009266,
    6.939762604168015,
    6.934980262383661,
    6.936163103896887,
    6.902235609618018,
    6.8778528077812195,
    6.894864896908852,
    6.825386226029403,
    6.854326250362701,
    6.863752265659157,
    6.848347243388855,
]
"""Losses of the first 20 steps in float64: a refactoring leaves them as they are."""


@pytest.fixture(scope="module")
def data():
    return make_data()


class Noise(DigitsDataModule):
    """Images that depend on no rendering."""

    def train_source(self):
        rng = np.random.Generator(np.random.PCG64(0))
        images = rng.integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
        return TensorSource(torch.from_numpy(images), rng.integers(0, 10, 200).tolist())


def test_twenty_golden_losses(tmp_path):
    losses = Losses()
    data = make_data(kind=Noise)
    make_trainer(tmp_path, 20, [losses], precision="64-true").fit(make_module(data, torch.double), datamodule=data)
    assert losses.values == pytest.approx(GOLDEN, rel=1e-9)


VISION = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 2}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
CASES = {
    "LoRA in the last blocks": (partial(add_lora, rank=2, scale=0.5, blocks=[-1]), {}),
    "A-CLIP in the last blocks": (partial(train_only, patterns=["attn.in_proj_weight"], blocks=[-1]), {}),
    "frozen text tower": (partial(add_lora, rank=2, scale=0.5, towers=["image"]), {}),
    "frozen image tower": (partial(add_lora, rank=2, scale=0.5, towers=["text"]), {}),
    "teacher in bf16": (partial(add_lora, rank=2, scale=0.5, blocks=[-1]), {"precision": "bf16"}),
    "teacher with merged updates": (partial(add_lora, rank=2, scale=0.5, blocks=[-1]), {"lora_space": "merged"}),
}


@pytest.mark.parametrize(("prepare", "options"), CASES.values(), ids=CASES)
def test_frozen_first_blocks_change_no_loss_where_the_teacher_shares_them(tmp_path, prepare, options):
    """Micro-batches as large as the batch let both models compute everything themselves."""
    curves = []
    for shared in (True, False):
        torch.manual_seed(0)
        data, model = make_data(kind=Noise), build_clip(16, VISION, TEXT).model
        prepare(model)
        if not shared:
            model.train_in_micro_batches(data.batch_size)
        losses, teacher = Losses(), partial(WMATeacher, kernel=BetaKernel(0.5), **options)
        make_trainer(tmp_path, 3, [losses]).fit(make_module(data, model=model, teacher=teacher), datamodule=data)
        curves.append(losses.values)
    assert curves[0] == curves[1]
    assert len(set(curves[0])) == 3


def closed_form(points, weights):
    total = sum(weights)
    return {name: sum(w * p[name] for w, p in zip(weights, points, strict=True)) / total for name in points[0]}


@pytest.mark.parametrize(
    ("accumulate", "every"), [(2, 3), *(pytest.param(*n, marks=pytest.mark.slow) for n in ((1, 1), (2, 1), (1, 3)))]
)
def test_teacher_is_the_closed_form_average_of_a_real_run(tmp_path, accumulate, every):
    steps = 10
    data = make_data()
    module, path = make_module(data), Trajectory()
    trainer = make_trainer(tmp_path, steps, [path], every, accumulate_grad_batches=accumulate)
    trainer.fit(module, datamodule=data)
    kept = [k for k in range(steps + 1) if k % every == 0]
    weights = [module.teacher.kernel((k + 0.5) / (steps + 1)) for k in kept]
    expected = closed_form([path.points[k] for k in kept], weights)
    assert len(path.points) == steps + 1
    assert module.teacher.step == max(kept)
    for name, value in expected.items():
        torch.testing.assert_close(module.teacher.module.get_parameter(name).double(), value, rtol=2e-6, atol=2e-7)


def test_accumulation_is_the_mean_gradient(tmp_path, data):
    """With SGD of rate 1 the first step is minus the mean of the two batches' gradients."""
    data = make_data()
    module = make_module(data, torch.double, warmup=0)
    module.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=1.0)
    start = {n: p.detach().clone() for n, p in module.student.named_parameters()}
    loader = iter(data.train_dataloader())
    reference = make_module(data, torch.double)
    for index in range(2):
        batch = data.on_after_batch_transfer(next(loader), 0)
        (reference_loss(reference, batch, index) / 2).backward()
    gradients = {n: p.grad for n, p in reference.student.named_parameters()}
    make_trainer(tmp_path, 1, accumulate_grad_batches=2, precision="64-true").fit(module, datamodule=make_data())
    for name, parameter in module.student.named_parameters():
        torch.testing.assert_close(start[name] - parameter, gradients[name], rtol=1e-9, atol=1e-12)


def reference_loss(module, batch, index):
    module.log = module.log_dict = lambda *args, **kwargs: None
    return module.training_step(batch, index)["loss"]


def step_gradients(batch, micro_batch=None):
    module = make_module(make_data(), torch.double)
    module.student.micro_batch = micro_batch
    loss = reference_loss(module, batch, 0)
    loss.backward()
    return loss, {name: p.grad for name, p in module.student.named_parameters()}


@pytest.mark.parametrize("micro_batch", [None, 5])
def test_captions_that_repeat_are_encoded_once_and_count_as_often(micro_batch):
    data = make_data()
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    batch = batch._replace(images=batch.images.double())
    assert len(batch.texts) <= 28 < len(batch.images) == 32
    loss, gradients = step_gradients(batch._replace(texts=batch.texts[batch.text_of], text_of=None))
    deduplicated, others = step_gradients(batch, micro_batch)
    torch.testing.assert_close(deduplicated, loss, rtol=1e-12, atol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-9, atol=1e-13)


def test_bf16_mixed_keeps_weights_and_teacher_in_fp32(tmp_path, data):
    module, losses = make_module(data), Losses()
    make_trainer(tmp_path, 4, [losses], precision="bf16-mixed").fit(module, datamodule=make_data())
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert len(set(losses.values)) == 4
    full, exact = make_module(data), Losses()
    make_trainer(tmp_path, 4, [exact]).fit(full, datamodule=make_data())
    assert losses.values == pytest.approx(exact.values, rel=0.02)
    assert losses.values != exact.values


@pytest.mark.parametrize(
    "frozen",
    [("*.bias",), *(pytest.param(n, marks=pytest.mark.slow) for n in ((), ("visual.conv1.*",), ("visual.*",)))],
)
def test_true_bf16_keeps_the_average_in_fp32(tmp_path, data, frozen):
    module = make_module(data, frozen=frozen)
    make_trainer(tmp_path, 3, precision="bf16-true").fit(module, datamodule=make_data())
    assert {p.dtype for p in module.student.parameters()} == {torch.bfloat16}
    trained = {module.teacher.module.get_parameter(name).dtype for name in module.teacher.trained}
    assert trained == {torch.float32}


@pytest.mark.slow
def test_a_teacher_in_true_bf16_is_tested_in_one_type(tmp_path):
    """The frozen weights that it shares are narrower than its averages."""
    data = make_data()
    module = make_module(data, frozen=["visual.conv1.*"])
    trainer = make_trainer(tmp_path, 2, precision="bf16-true", limit_test_batches=1)
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    assert set(module.results) == {"student", "teacher"}
    assert module.student.model.visual.conv1.weight.dtype == torch.bfloat16
    assert module.teacher.module.model.visual.conv1.weight is module.student.model.visual.conv1.weight


def test_frozen_parameters_stay_bit_identical(tmp_path, data):
    module = make_module(data, frozen=["transformer.*", "token_embedding.*", "logit_scale"])
    start = {n: p.detach().clone() for n, p in module.student.named_parameters()}
    make_trainer(tmp_path, 5).fit(module, datamodule=make_data())
    for name, parameter in module.student.named_parameters():
        assert torch.equal(parameter, start[name]) != parameter.requires_grad, name
        shared = module.teacher.module.get_parameter(name) is parameter
        assert shared != parameter.requires_grad


@pytest.mark.slow
def test_the_loss_falls(tmp_path):
    data, losses = make_data(batch_size=128), Losses()
    make_trainer(tmp_path, 40, [losses]).fit(make_module(data, lr=3e-3), datamodule=data)
    assert max(losses.values[-5:]) < min(losses.values[:3])


def test_the_loss_is_computed_in_full_precision_under_autocast(tmp_path, data):
    """Logits rounded to bf16 would be off by up to s / 256."""
    module = make_module(data)
    seen = []

    class Spy(torch.nn.Module):
        needs_teacher = False

        def forward(self, inputs):
            logits = inputs.student.logit_scale * inputs.student.image @ inputs.student.text.T
            seen.append((logits.dtype, torch.equal(logits, logits.bfloat16().float())))
            return logits.sum()

    module.loss.terms["spy"], module.loss.weights["spy"] = Spy(), 0.0
    make_trainer(tmp_path, 1, precision="bf16-mixed").fit(module, datamodule=make_data())
    assert seen == [(torch.float32, False)]


def test_distillation_without_a_teacher_is_refused(data):
    with pytest.raises(ValueError, match=r"the terms fd, crd, icl, cross_kd compare the student with a teacher"):
        make_module(data, teacher=NoTeacher)


def test_a_first_step_without_a_loss_is_refused(data):
    module = make_module(data)
    module.student.model.logit_scale.requires_grad_(False)  # which this loss does not read
    parts = ("student", "teacher", "optimizer", "scheduler", "validation", "test")
    loss = WeightedSum({"fd": FeatureDistillation()}, {"fd": 1.0}, distillation_from=1)
    with pytest.raises(ValueError, match="no term has a weight > 0 at the first step"):
        TracerModule(loss=loss, regularizers=WeightedSum({}, {}), **{name: getattr(module, name) for name in parts})


def test_distillation_that_would_begin_after_the_run_causes_a_warning(tmp_path, data):
    module = make_module(data)
    module.loss.distillation_from = 2
    with pytest.warns(UserWarning, match="distillation_from=2 in a run of 2 steps: no distillation"):
        make_trainer(tmp_path, 2).fit(module, datamodule=make_data())


def test_a_second_fit_starts_the_clock_again(tmp_path, data):
    module = make_module(data)
    make_trainer(tmp_path, 3).fit(module, datamodule=make_data())
    make_trainer(tmp_path, 5).fit(module, datamodule=make_data())
    assert (module.teacher.step, module.teacher.updates, module.teacher.total_steps) == (5, 5, 5)


def test_results_hold_the_teacher_only_after_a_run(tmp_path, data):
    module = make_module(data)
    trainer = make_trainer(tmp_path, 2, limit_test_batches=1)
    trainer.test(module, datamodule=data, verbose=False)
    assert set(module.results) == {"student"}
    trainer.fit(module, datamodule=make_data())
    trainer.test(module, datamodule=data, verbose=False)
    assert set(module.results) == {"student", "teacher"}
    assert module.results["student"] != module.results["teacher"]
