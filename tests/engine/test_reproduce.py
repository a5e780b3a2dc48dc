"""``reproduce=official`` against the released code's formulas, written down here once more, step by step."""

import copy
import math

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from tests.commands.helpers import composed, hydra_context
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import build_data, build_module, build_trainer

STEPS, WARMUP = 12, 3
SMALL = (
    "data=digits", "data.renderings_per_digit=1", "data.batch_size=32", "data.eval_batch_size=256", "prerequisite=null",
    "trainer=cpu", "trainer.precision=64-true", f"trainer.max_steps={STEPS}", "trainer.limit_val_batches=0",
    f"scheduler.warmup_steps={WARMUP}", "backbone=digits_vit", "backbone.embed_dim=32",
    "backbone.text_cfg.layers=1", "optimizer.lr=1e-3",
)  # fmt: skip
RESNET = ("~backbone.vision_cfg.patch_size", "backbone.vision_cfg.layers=[1,1,1,1]", "backbone.vision_cfg.width=8")
ORTHOGONAL = ("regularizers=[cross_frobenius,orthogonality]", "regularizers.orthogonality.weight=0.2")


@pytest.fixture(autouse=True)
def hydra():
    with hydra_context():
        yield


class Recorder(pl.Callback):
    """Weights at the start, and the batch and loss of every step."""

    def __init__(self):
        self.batches, self.losses, self.start = [], [], None

    def on_train_start(self, trainer, module):
        self.start = copy.deepcopy(module.student.model)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append((batch.images.clone(), batch.texts[batch.text_of if batch.text_of is not None else ...]))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())


def trained(tmp_path, *overrides):
    cfg = composed(tmp_path, *overrides, tiny=False)
    backbone = build_backbone(cfg, None)
    data, recorder = build_data(cfg, backbone), Recorder()
    trainer = build_trainer(cfg, callbacks=[recorder])
    module = build_module(cfg, backbone, data)
    trainer.fit(module, data)
    return module, recorder


def encoded(clip, images, texts):
    texts = F.pad(texts, (0, clip.context_length - texts.shape[1]))
    return (
        clip.encode_image(images.double(), normalize=True),
        clip.encode_text(texts, normalize=True),
        clip.logit_scale.exp(),
    )


def divergence(student, teacher):
    return F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean")


def contrast(logits, other):
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(other, target)) / 2


def distillation(student, teacher, weights):
    (image, text, scale), (image_t, text_t, scale_t) = student, teacher
    logits, logits_t = scale * image @ text.T, scale_t * image_t @ text_t.T
    to_texts, to_images = scale * image @ text_t.T, scale * text @ image_t.T
    return (
        weights["crd"] * (divergence(logits, logits_t) + divergence(logits.T, logits_t.T)) / 2
        + weights["fd"] * (F.mse_loss(image, image_t) + F.mse_loss(text, text_t))
        + weights["icl"] * contrast(to_texts, to_images)
        + weights["cross_kd"] * (divergence(to_texts, logits_t) + divergence(to_images, logits_t.T)) / 2
    )


def penalty(clip, resnet, cross, orthogonal):
    projection = clip.visual.attnpool.c_proj.weight.T if resnet else clip.visual.proj
    gram = projection @ projection.T if resnet else projection.T @ projection
    return (
        cross * torch.linalg.norm(projection @ clip.text_projection.T)
        + orthogonal * (gram - torch.eye(len(gram), dtype=gram.dtype)).square().sum().sqrt()
    )


class MovingAverage:
    """Of parameters; statistics of BatchNorm stay those of the start."""

    def __init__(self, clip, ema, every):
        self.model, self.ema, self.every = copy.deepcopy(clip).eval(), ema, every
        self.updates, self.sum = 0, self.kernel(0)

    @staticmethod
    def kernel(update):
        return stats.beta(0.5, 0.5).pdf((update + 0.5) / (STEPS + 1))

    def update(self, clip, step):
        if step % self.every and (self.ema or step != STEPS - 1):
            return
        self.updates += 1
        if self.ema:
            share = 1 - (0.05 + 0.85 * min(1, step / (0.2 * STEPS)))
        else:
            weight = self.kernel(self.updates)
            self.sum += weight
            share = weight / self.sum
        with torch.no_grad():
            for average, value in zip(self.model.parameters(), clip.parameters(), strict=True):
                average.lerp_(value, share)


def official(recorder, lr, decay, strength, weights, cross, orthogonal, resnet=False, ema=False, every=1):
    """Losses of the released loop on the same batches, its student and its teacher."""
    clip = copy.deepcopy(recorder.start).train()
    teacher = MovingAverage(clip, ema, every)
    optimizer = torch.optim.AdamW(clip.parameters(), lr=lr, weight_decay=decay, eps=1e-8)
    losses = []
    for step, (images, texts) in enumerate(recorder.batches):
        progress = (step - WARMUP) / (STEPS - WARMUP)
        optimizer.param_groups[0]["lr"] = lr * (
            (step + 1) / WARMUP if step < WARMUP else (1 + math.cos(math.pi * progress)) / 2
        )
        features = encoded(clip, images, texts)
        logits = features[2] * features[0] @ features[1].T
        loss = contrast(logits, logits.T) + penalty(clip, resnet, cross, orthogonal)
        if step > 0:
            with torch.no_grad():
                averaged = encoded(teacher.model, images, texts)
            loss = loss + strength * distillation(features, averaged, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        teacher.update(clip, step)
        losses.append(loss.item())
    return losses, clip, teacher.model


RN = {"decay": 0.02, "strength": 0.01, "fd": 200, "cross": 0.01, "resnet": True}
IWILDCAM = {"decay": 0.2, "strength": 0.1, "fd": 5000, "crd": 0, "cross": 0.05, "orthogonal": 0.05}
VIT = {"decay": 0.1, "strength": 0.9, "fd": 2000, "cross": 0.05}
EMA = {**VIT, "orthogonal": 0.2, "ema": True}


@pytest.mark.parametrize(
    ("experiment", "released", "more"),
    [
        ("vitb16_wma", VIT, ()),
        pytest.param("vitb16_wma", {**VIT, "every": 5}, ("teacher.every_n_steps=5",), marks=pytest.mark.slow),
        pytest.param("rn50_wma", RN, RESNET, marks=pytest.mark.slow),
        pytest.param("rn50_wma", {**RN, "orthogonal": 0.2}, (*RESNET, *ORTHOGONAL), marks=pytest.mark.slow),
        pytest.param("iwildcam_wma", IWILDCAM, (), marks=pytest.mark.slow),
        pytest.param("vitb16_wma", EMA, ("recipe=tracer_ema_released",), marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_twelve_steps_are_those_of_the_released_code(tmp_path, experiment, released, more):
    module, recorder = trained(tmp_path, f"experiment={experiment}", "reproduce=official", *SMALL, *more)
    settings = {"orthogonal": 0, "crd": 1} | released
    weights = {"crd": settings.pop("crd"), "fd": settings.pop("fd"), "icl": 1, "cross_kd": 1}
    losses, student, teacher = official(recorder, 1e-3, weights=weights, **settings)
    assert recorder.losses == pytest.approx(losses, rel=1e-8)
    for ours, theirs in ((module.student.model, student), (module.teacher.module.model, teacher)):
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-6, atol=1e-8, msg=name)
