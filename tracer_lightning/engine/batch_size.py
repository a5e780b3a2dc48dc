"""The largest batch that fits in memory, estimated from a forward pass of two images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from tracer_lightning.data.core.available_memory import available_memory, total_memory
from tracer_lightning.models import Model
from tracer_lightning.types import Batch, InputSpec

LARGEST = {"cpu": 64, "cuda": 512}
"""Largest batch by type of device: on CPUs a larger one takes long and gains little."""
SMALLEST = 8
"""Batch that is chosen where none is estimated to fit, since fewer images hardly tell captions apart."""
COPIES = 5
"""Tensors as large as the weights in a training step: the student, its gradients, two of AdamW, the teacher."""
SHARE = 0.5
"""Share of the memory to use; the rest is for the losses, evaluation and data workers."""
TOKENS = 16
"""Length of captions such as "a photo of a cat", to which batches are cut where the model allows it."""


class BatchChoice(NamedTuple):
    """A batch size with the numbers that it is chosen by."""

    size: int
    """Number of images."""
    weights: int
    """Bytes for weights, gradients, optimizer and teacher."""
    image: int
    """Bytes of activations for each image and its caption."""
    memory: int | None
    """Bytes of memory for each process; None where the system does not say."""


def activation_bytes(model: Model, spec: InputSpec) -> int:
    """Bytes that autograd keeps for each image with its caption: tensors saved in a forward pass of two, in fp32.

    Args:
        model: a model of images and captions on the CPU.
        spec: its inputs.
    """
    texts = spec.tokenize(["a photo of a cat."] * 2)
    index = torch.arange(2)
    images = torch.zeros(2, 3, spec.image_size, spec.image_size)
    batch = Batch(images, texts[:, :TOKENS] if spec.trims_text else texts, index, index)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage
        return tensor

    was_training = model.training
    model.eval()  # which leaves the statistics of BatchNorm as they are
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        features = model(batch, {"image", "text", "logit_scale"})
    model.train(was_training)
    del features
    return sum(storage.nbytes() for pointer, storage in saved.items() if pointer not in weights) // 2


def largest_batch(weights: int, image: int, memory: int | None, largest: int, images: int, processes: int = 1) -> int:
    """The largest power of two, at most ``largest``, that fits in half of the memory and in the training set.

    Args:
        weights: bytes that do not depend on the batch.
        image: bytes for each image of the batch.
        memory: bytes of memory for each process; None where they are not known.
        largest: a power of two.
        images: number of training images.
        processes: number of processes that share the batch, to a multiple of which it is rounded down.
    """
    size = largest
    while size > SMALLEST and memory is not None and weights + size * image / processes > SHARE * memory:
        size //= 2
    while size > max(images, 1):
        size //= 2
    return max(size // processes, 1) * processes


def choose_batch_size(
    model: Model, spec: InputSpec, accelerator: str, images: int, processes: int = 1, machines: int = 1
) -> BatchChoice:
    """Choose the size of the global batch for a model and its devices by :func:`largest_batch`.

    Several processes choose before they meet. They choose the same, since then nothing depends on what is free at the
    moment: on CPUs, the processes of a machine share its memory.

    Args:
        model: model to train, on the CPU.
        spec: its inputs.
        accelerator: Lightning's name of the device; ``auto`` is a GPU where there is one.
        images: number of training images.
        processes: number of processes of the run.
        machines: number of equal machines that they run on.
    """
    is_gpu = accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()
    if is_gpu:
        memory: int | None = torch.cuda.get_device_properties(0).total_memory
    elif processes == 1:
        memory = available_memory()
    else:
        total = total_memory()
        memory = None if total is None else total * machines // processes
    weights = COPIES * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    image = activation_bytes(model, spec)
    size = largest_batch(weights, image, memory, LARGEST["cuda" if is_gpu else "cpu"], images, processes)
    return BatchChoice(size, weights, image, memory)
