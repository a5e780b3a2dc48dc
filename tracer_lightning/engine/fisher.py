"""Fisher information of classifiers on training images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from tracer_lightning.data import ClipDataModule
from tracer_lightning.data.core.progress import progress_bar
from tracer_lightning.merging import diagonal_fisher
from tracer_lightning.models import ClipModel
from tracer_lightning.models.heads import zero_shot_linear
from tracer_lightning.models.open_clip.state_dicts import CLIP


def image_fisher(
    model: ClipModel, data: ClipDataModule, samples: int, seed: int, device: torch.device
) -> dict[str, Tensor]:
    """Diagonal Fisher information of the model's classifier on training images, by open_clip's names, on the CPU.

    The classifier is the image tower with the model's own head or, without one, its zero-shot head, which is held
    constant like the logit scale and the text tower.

    Args:
        model: model that is left in evaluation mode and on the CPU.
        data: data module from whose training images samples are drawn.
        samples: greatest number of images.
        seed: seed of the drawn images and of the sampled labels.
        device: device of the computation.
    """
    model.to(device).eval().requires_grad_(True)
    head = zero_shot_linear(model, data.prompts().to(device)) if model.head is None else model.head

    def classify(images: Tensor) -> Tensor:
        features = model.encode_image(images)
        return F.linear(features, head.weight.to(features.dtype), head.bias.to(features.dtype))

    parameters = {name.removeprefix(CLIP): parameter for name, parameter in model.named_parameters()}
    images = progress_bar(training_images(data, samples, seed, device), desc="Fisher information", unit="image")
    fisher = {name: value.cpu() for name, value in diagonal_fisher(classify, parameters, images, seed).items()}
    model.cpu()
    return fisher


def training_images(data: ClipDataModule, samples: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    """At most ``samples`` training images (3, H, W), with the transforms of evaluation; unreadable ones are skipped."""
    for batch in data.plain_loader((seed, samples)):
        normalised = data.on_after_batch_transfer(batch._replace(images=batch.images.to(device)), 0)
        yield from normalised.images[batch.indices >= 0]
