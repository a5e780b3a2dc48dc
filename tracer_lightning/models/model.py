"""The contract of models: what every family gives to the rest of the program."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tracer_lightning.functional.lora_merge import merge


class Model(nn.Module):
    """A model that can be fine-tuned. A family is a subclass, which must define only ``features`` and ``forward``."""

    features: ClassVar[type]
    """Type of the outputs (:class:`tracer_lightning.types.Features`)."""
    targets: ClassVar[frozenset[str]] = frozenset()
    """Fields of the features that are copied from the batch, such as labels: only the student is asked for them."""
    parts: ClassVar[tuple[str, ...]] = ("model",)
    """Names of the parts that may be trained, such as towers."""
    weights_prefix: ClassVar[str] = ""
    """Prefix of parameter names, which users may omit."""

    def __init__(self) -> None:
        super().__init__()
        self.head: nn.Linear | None = None
        """Classification head; None where there is none."""
        self.batch_norm_frozen = False
        """Whether BatchNorm layers use their running statistics in training, too."""

    def forward(self, batch: Any, reads: Collection[str]) -> Any:
        """Features of the global batch, of which ``batch`` is this rank's share.

        Args:
            batch: as the data module gives it.
            reads: fields of the features that losses read; others need not be computed.
        """
        raise NotImplementedError

    def through_frozen_layers(self, batch: Any, reads: Collection[str]) -> Any:
        """The batch, with what the model's frozen first layers make of it where a family computes that separately.

        :meth:`forward` takes it instead of the batch, in the student and in a teacher that shares the frozen weights
        and has the same precision: both return what they would return for the batch, bit for bit.

        Args:
            batch: as the data module gives it.
            reads: fields of the features that losses read.
        """
        del reads
        return batch

    @classmethod
    def part_of(cls, name: str) -> str:
        """The part that a parameter of this name belongs to."""
        del name
        return cls.parts[0]

    def check_reads(self, reads: Collection[str]) -> None:
        """Raise ValueError where the model can't give these fields, or trains something that none of them depends on.

        Args:
            reads: fields of the features that losses read.
        """

    def check_projections(self) -> None:
        """Raise ValueError where the model lacks linear projections of images and texts to a shared space."""
        raise ValueError(f"a {type(self).__name__} has no linear projections; drop the regularizer")

    def freeze_unread(self, reads: Collection[str], anchored: bool) -> list[str]:
        """Freeze parameters that no loss depends on, but that needn't be an error.

        Args:
            reads: fields of the features that losses read.
            anchored: whether a loss compares images with anchor texts.

        Returns:
            Warnings about what the losses do not use.
        """
        del reads, anchored
        return []

    # -- training ---------------------------------------------------------------------------------------------------

    def freeze_batch_norm(self, frozen: bool) -> None:
        """Let BatchNorm layers use their running statistics in training, too, without updating them.

        Raises:
            ValueError: there are no such layers.
        """
        if frozen and not any(isinstance(module, _BatchNorm) for module in self.modules()):
            raise ValueError("frozen must be False for a model without BatchNorm layers")
        self.batch_norm_frozen = frozen
        self.train(self.training)

    @property
    def trains_batch_norm_statistics(self) -> bool:
        """Whether training moves the running statistics of BatchNorm layers."""
        return not self.batch_norm_frozen and any(isinstance(module, _BatchNorm) for module in self.modules())

    @property
    def moves_frozen_statistics(self) -> bool:
        """Whether training moves the running statistics of BatchNorm layers whose weights are frozen."""
        trains = any(parameter.requires_grad for parameter in self.parameters())
        layers = [module for module in self.modules() if isinstance(module, _BatchNorm)]
        frozen = any(not any(parameter.requires_grad for parameter in layer.parameters()) for layer in layers)
        return trains and frozen and not self.batch_norm_frozen

    def train(self, mode: bool = True) -> Model:
        """Set the mode, but for BatchNorm layers that keep their statistics."""
        super().train(mode)
        for module in self.modules() if mode and self.batch_norm_frozen else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def train_last(self, layers: int) -> None:
        """Freeze all layers but the last ones."""
        del layers
        raise ValueError(f"layers must be None: the layers of a {type(self).__name__} are not known")

    def checkpoint_activations(self) -> None:
        """Recompute the blocks' activations in the backward pass instead of keeping them."""
        raise ValueError(f"gradient_checkpointing must be False: {type(self).__name__} doesn't support it")

    def train_in_micro_batches(self, samples: int) -> None:
        """Keep activations of so many samples at a time, and compute them again in the backward pass."""
        del samples
        raise ValueError(f"micro_batch must be None: {type(self).__name__} doesn't support it")

    # -- files ------------------------------------------------------------------------------------------------------

    def convert_weights(self, state: dict[str, Tensor], where: str, resized: bool) -> dict[str, Tensor]:
        """Weights of a file under the names of this model's state dict, where the file has others.

        Args:
            state: tensors of the file by name.
            where: the file, for errors.
            resized: whether tensors that depend on the size of the input may be interpolated.
        """
        del where, resized
        return state

    def check_source(self, names: Collection[str], file: Path, where: str) -> None:
        """Raise ValueError where what is known of a file of weights, which fit the model, contradicts the model.

        Args:
            names: names of the tensors in the file.
            file: the file, beside which there may be a configuration.
            where: the file, for errors.
        """

    export_format: ClassVar[str | None] = None
    """Name of the format that :meth:`export` writes, which is that of a library; None for the family's own."""

    def export(self, backbone: Backbone, folder: Path) -> None:
        """Write the weights and the configuration to an existing folder, for use without this package.

        Args:
            backbone: this model with its specification and configuration.
            folder: folder of the files ``model.safetensors`` and ``config.json``.
        """
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(backbone.config, indent=2) + "\n", encoding="utf-8")

    def export_to_transformers(self, backbone: Backbone, folder: Path) -> None:
        """Write a folder that ``AutoModel.from_pretrained`` of the ``transformers`` library loads.

        Args:
            backbone: this model with its specification and configuration.
            folder: target folder.

        Raises:
            ValueError: the library has no such model.
        """
        del backbone, folder
        raise ValueError(f"format must be null: a {type(self).__name__} is exported in its own format only")

    def merge_updates(self) -> None:
        """Merge low-rank updates into the weights, in place; they are parametrizations unless a family adds others."""
        merge(self)

    def check_merged_averages(self) -> None:
        """Raise ValueError where there are low-rank updates that are no parametrizations of weights.

        Teachers average the products of low-rank factors through parametrizations.
        """

    card_template: ClassVar[str | None] = None
    """File name of the template of an exported model's card; None for families without a card."""

    def loading_code(self, address: str) -> str | None:
        """Python expression with which a library loads an exported model; None where no library does.

        Args:
            address: the exported folder as ``local-dir:FOLDER``, or its repository on the hub as ``hf-hub:OWNER/NAME``.
        """
        del address
        return None

    # -- sharding ---------------------------------------------------------------------------------------------------

    def blocks(self) -> Iterator[nn.Module]:
        """Modules whose weights are gathered one module after the other, where ranks keep shards."""
        yield from ()

    replicated: tuple[str, ...] = ()
    """Names of parameters that all ranks keep, because they are too small to be cut."""
    called_from_outside: ClassVar[tuple[str, ...]] = ()
    """Names of methods, besides ``forward``, that compute with the weights and are called from outside."""


class Backbone(NamedTuple):
    """A model and the inputs that it expects."""

    model: Any
    """A :class:`Model`."""
    spec: Any
    """Expected inputs, which the data module prepares; of images and texts, a
    :class:`tracer_lightning.types.InputSpec`."""
    config: dict[str, Any]
    """The architecture; of open_clip models, in the terms of its model configurations."""
