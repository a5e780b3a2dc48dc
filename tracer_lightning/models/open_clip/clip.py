"""open_clip models behind the one interface that the rest of the package uses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import open_clip
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, text_global_pool
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tracer_lightning.functional.distributed import full_tensor, gather
from tracer_lightning.models.model import Backbone, Model
from tracer_lightning.models.open_clip.fast_attention import compute_all_tokens, use_fast_attention
from tracer_lightning.models.open_clip.frozen_blocks import (
    PartlyEncoded,
    begin_images,
    begin_texts,
    embed_texts,
    finish_images,
    run_text_blocks,
)
from tracer_lightning.models.open_clip.hugging_face import is_hugging_face
from tracer_lightning.models.sharding import is_sharded
from tracer_lightning.models.value_heads import PixelHead, ValueHead
from tracer_lightning.types import Batch, ClipFeatures

Part = Literal["image", "text", "scale", "head"]
SCALES = ("model.logit_scale", "model.logit_bias")
"""Names of the scale and the bias of the logits."""


def _normalise(features: Tensor) -> Tensor:
    """L2-normalise in fp32 or wider, whatever autocast made of the features."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


class ClipModel(Model):
    """An open_clip model that returns :class:`ClipFeatures` and takes texts of any length up to its context.

    Its parts are the towers ``image`` and ``text`` with their projections, the logits' ``scale``, to which the logit
    bias of SigLIP models belongs, and the ``head``.

    Args:
        model: an ``open_clip.CLIP`` or ``open_clip.CustomTextCLIP``.
    """

    features = ClipFeatures
    targets = frozenset({"labels", "targets"})
    parts = get_args(Part)
    weights_prefix = "model."
    card_template = "model_card.md.j2"
    export_format = "open_clip"
    called_from_outside = ("through_frozen_layers", "encode_image", "encode_text", "predict")
    model: Any  # open_clip is untyped

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        use_fast_attention(model)
        self.model = model
        self.replicated = tuple(name for name, _ in self.named_parameters() if name in SCALES)
        self.image_adapter: nn.Module = nn.Identity()
        self.text_adapter: nn.Module = nn.Identity()
        self._encode: Callable[[ClipModel, Tensor, Tensor | None], tuple[Tensor, Tensor]] = ClipModel.encode
        self.micro_batch: int | None = None
        """Number of samples whose activations a training step keeps at a time; None for all."""

    @property
    def trims_text(self) -> bool:
        """Whether cutting texts behind the token of the highest id changes nothing: causal tower, pooled there."""
        causal = isinstance(self.model, open_clip.CLIP) and self.model.attn_mask is not None
        return causal and self.model.text_pool_type == "argmax"

    @property
    def context_length(self) -> int:
        """Tokens that a text may have."""
        return int(self.model.context_length)

    @classmethod
    def part_of(cls, name: str) -> Part:
        """The part that a parameter of this name belongs to."""
        if name.startswith(("model.visual.", "image_adapter.")):
            return "image"
        if name.startswith("head."):
            return "head"
        return "scale" if name in SCALES else "text"

    def check_reads(self, reads: Collection[str]) -> None:
        """Raise ValueError where there is no head to read, or a head, text tower or scale that no loss depends on."""
        if "logits" in reads and self.head is None:
            raise ValueError(
                "a loss reads the logits of a head, but the model has none; add a head, or choose another loss"
            )
        if "logits" not in reads and self.head is not None:
            raise ValueError(
                "the model has a head, but no loss reads its logits; remove the head, or choose another loss"
            )
        if "logit_bias" in reads and self.logit_bias is None:
            raise ValueError(
                "a loss reads the logit bias, but the model has none; choose a SigLIP model, or losses of the softmax"
            )
        trained = {self.part_of(name) for name, parameter in self.named_parameters() if parameter.requires_grad}
        if "text" in trained and "text" not in reads:
            raise ValueError(
                "the text tower can't be trained, because no loss reads text features; leave text out of the trained "
                "parts"
            )
        if "scale" in trained and "logit_scale" not in reads:
            raise ValueError(
                "the logit scale can't be trained, because no loss reads it; leave scale out of the trained parts"
            )

    def freeze_unread(self, reads: Collection[str], anchored: bool) -> list[str]:
        """Freeze the logit bias where no loss reads it, and warn of losses that a SigLIP model wasn't trained with."""
        if self.logit_bias is None:
            return []
        warnings = []
        trained = any(parameter.requires_grad for parameter in self.parameters())
        if "logit_bias" not in reads:
            self.model.logit_bias.requires_grad_(False)
        if trained and "text" in reads and "logit_bias" not in reads:
            warnings.append(
                "the model has a logit bias (SigLIP), which no loss reads: in a softmax over the batch it cancels, so "
                "that it stays as it is, and the sigmoids of pairs are no longer probabilities; the sigmoid loss keeps "
                "them"
            )
        if anchored:
            warnings.append(
                "the model's logit bias has no effect on losses of anchor texts: it cancels in the softmax over the "
                "texts and in differences of logits"
            )
        return warnings

    def through_frozen_layers(self, batch: Batch, reads: Collection[str]) -> Batch:
        """The batch with the frozen first blocks of each tower computed.

        A model that is compiled, trains in micro-batches or predicts pixels takes the batch as it is.
        """
        if self.micro_batch is not None or isinstance(self.head, PixelHead) or self._encode is not ClipModel.encode:
            return batch
        clip, reads_text = self.model, "text" in reads and self.trims_text
        images: Any = begin_images(clip.visual, batch.images.to(next(clip.visual.parameters()).dtype))
        texts: Any = begin_texts(clip, batch.texts) if reads_text else batch.texts
        return batch._replace(images=images, texts=texts)

    def forward(self, batch: Batch, reads: Collection[str]) -> ClipFeatures:
        """Features of the global batch, gathered over ranks with gradient.

        Args:
            batch: this rank's share, with normalised pixels (B, 3, H, W), or as :meth:`through_frozen_layers` returns
                it.
            reads: fields that losses read; texts, labels, targets and logits are left out otherwise.
        """
        pixels = None
        if "logits" in reads and isinstance(self.head, PixelHead):
            pixels = self._encode_in_micro_batches(ClipModel.encode_pixels, batch.images, len(batch.images))
        if pixels is not None and "image" not in reads and "text" not in reads:
            image = text = pixels.new_zeros(0, self.image_projection.shape[1])
        else:
            image, text = self._encode(self, batch.images, batch.texts if "text" in reads else None)
        if "text" in reads and batch.text_of is not None:  # a caption that repeats is encoded once
            text = text[batch.text_of]
        with torch.autocast(image.device.type, enabled=False):
            image, text = gather(image), gather(text)
            labels = gather(batch.labels) if "labels" in reads else None
            targets = gather(batch.targets) if batch.targets is not None and "targets" in reads else None
            logits = None
            if "logits" in reads:
                logits = self.classify(image) if pixels is None else gather(pixels)
            bias = self.logit_bias if "logit_bias" in reads else None
            return ClipFeatures(image, text, self.logit_scale, labels, logits, bias, targets)

    def encode(self, images: Tensor, texts: Tensor | None) -> tuple[Tensor, Tensor]:
        """Normalised features (B, D) and (N, D) of images (B, 3, H, W) and token ids (N, L); (0, D) without texts."""
        # not the methods of self: sharding wraps what is called from outside, and this is inside
        image = self._encode_in_micro_batches(ClipModel.encode_image, images, len(images))
        text = (
            image.new_zeros(0, image.shape[1])
            if texts is None
            else self._encode_in_micro_batches(ClipModel.encode_text, texts, len(images))
        )
        return image, text

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile what computes features: neither the gathering nor what a batch says of its samples."""
        # not the bound method, which a copy of this model would share, and with it these weights
        encode = torch.compile(ClipModel.encode, *args, **kwargs)

        def encode_any_captions(model: ClipModel, images: Tensor, texts: Tensor | None) -> tuple[Tensor, Tensor]:
            for dimension in range(0 if texts is None else texts.dim()):  # else compiled again for others, twice
                torch._dynamo.maybe_mark_dynamic(texts, dimension)
            return encode(model, images, texts)

        self._encode = encode_any_captions

    def _encode_in_micro_batches(
        self, encode: Callable[[ClipModel, Tensor], Tensor], inputs: Tensor, samples: int
    ) -> Tensor:
        """``encode(self, inputs)``, at most ``micro_batch`` at a time, each part computed again in the backward pass.

        The features of all parts meet in one loss, so that the set of negatives is the whole batch (GradCache; Gao et
        al., 2021).

        Args:
            encode: method that encodes inputs.
            inputs: samples, or captions (N, L) without those that repeat, so that N differs between ranks.
            samples: number of samples in this rank's batch, which is the same on all ranks.
        """
        if self.micro_batch is None:
            return encode(self, inputs)
        sharded = is_sharded(self)  # ranks gather weights together, so that they need equally many parts
        if (samples if sharded else len(inputs)) <= self.micro_batch:
            return encode(self, inputs)
        if sharded:
            count = -(-samples // self.micro_batch)
            rows = torch.arange(max(count, len(inputs)), device=inputs.device).clamp(max=len(inputs) - 1)
            parts = torch.tensor_split(inputs[rows], count)  # none of them is empty
        else:
            parts = torch.split(inputs, self.micro_batch)
        return torch.cat([checkpoint(encode, self, part, use_reentrant=False) for part in parts])[: len(inputs)]

    def classify(self, features: Tensor) -> Tensor:
        """(B, C) logits of the head on image features (B, D), or (B, K) values, in the type of the features."""
        assert self.head is not None
        weight, bias = full_tensor(self.head.weight), full_tensor(self.head.bias)
        logits = F.linear(features, weight.to(features.dtype), bias.to(features.dtype))
        return self.head.rescale(logits) if isinstance(self.head, ValueHead) else logits

    def predict(self, images: Tensor) -> Tensor:
        """Outputs (B, ...) of the model's head for samples: logits of classes, values, or pixels."""
        if isinstance(self.head, PixelHead):
            return ClipModel.encode_pixels(self, images)
        features = ClipModel.encode_image(self, images)
        with torch.autocast(features.device.type, enabled=False):
            return self.classify(features)

    def encode_pixels(self, images: Tensor) -> Tensor:
        """(B, H, W) pixels that a :class:`PixelHead` predicts for samples (B, C, H, W), of which it has the size."""
        visual, head = self.model.visual, self.head
        assert isinstance(head, PixelHead)
        compute_all_tokens(visual)
        samples = images.to(next(visual.parameters()).dtype)
        outputs = visual.forward_intermediates(samples, indices=1, intermediates_only=True, output_fmt="NLC")
        (tokens,) = outputs["image_intermediates"]  # (B, T, width), without the class token
        with torch.autocast(tokens.device.type, enabled=False):
            return head.pixels(tokens.to(torch.promote_types(tokens.dtype, torch.float32)), visual.conv1.patch)

    def encode_image(self, images: Tensor | PartlyEncoded) -> Tensor:
        """(B, D) normalised features of (B, 3, H, W) normalised pixels, cast to the type of the weights."""
        visual = self.model.visual
        if isinstance(images, PartlyEncoded):
            features = finish_images(visual, images)
        else:
            features = self.model.encode_image(images.to(next(visual.parameters()).dtype))
        return _normalise(self.image_adapter(features))

    def encode_text(self, texts: Tensor | PartlyEncoded) -> Tensor:
        """(N, D) normalised features of (N, L) token ids."""
        features = self._encode_trimmed(texts) if self.trims_text else self.model.encode_text(texts)
        return _normalise(self.text_adapter(features))

    def _encode_trimmed(self, texts: Tensor | PartlyEncoded) -> Tensor:
        """open_clip's ``CLIP.encode_text`` with positions and mask cut to the length of the texts."""
        clip = self.model
        begun = texts if isinstance(texts, PartlyEncoded) else embed_texts(clip, texts)
        x = clip.ln_final(run_text_blocks(clip, begun))
        pooled = text_global_pool(x, begun.inputs, clip.text_pool_type, eos_token_id=clip.text_eos_id)
        projection = clip.text_projection
        features: Tensor = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        return features

    @property
    def logit_scale(self) -> Tensor:
        """() scale s of the logits, exponentiated."""
        return full_tensor(self.model.logit_scale).exp()

    @property
    def logit_bias(self) -> Tensor | None:
        """() bias b of the logits of pairs, a copy that later steps don't change; None for models without one."""
        bias = getattr(self.model, "logit_bias", None)
        return None if bias is None else full_tensor(bias).clone()

    @property
    def is_resnet(self) -> bool:
        """Whether the image tower is CLIP's ResNet, which pools by attention."""
        return isinstance(getattr(self.model.visual, "attnpool", None), AttentionPool2d)

    @property
    def image_projection(self) -> Tensor:
        """(width, D): the ViT's projection, or that of a ResNet's attention pooling."""
        visual = self.model.visual
        projection = getattr(visual, "proj", None)
        if isinstance(projection, nn.Parameter):
            return projection
        pooling = getattr(visual, "attnpool", None)
        if isinstance(pooling, AttentionPool2d):
            weight: Tensor = pooling.c_proj.weight
            return weight.T
        raise ValueError(f"{type(visual).__name__} has no linear image projection; drop the regularizer")

    @property
    def text_projection(self) -> Tensor:
        """(width, D)."""
        projection = getattr(getattr(self.model, "text", self.model), "text_projection", None)
        if isinstance(projection, nn.Linear):
            return projection.weight.T
        if isinstance(projection, nn.Parameter):
            return projection
        raise ValueError("the text tower has no linear projection; drop the regularizer")

    def check_projections(self) -> None:
        """Raise ValueError where a tower ends without a linear projection."""
        _ = self.image_projection, self.text_projection

    # -- files ------------------------------------------------------------------------------------------------------

    def convert_weights(self, state: dict[str, Tensor], where: str, resized: bool) -> dict[str, Tensor]:
        """Convert the names that open_clip and ``transformers`` give to weights, and resize position embeddings."""
        from tracer_lightning.models.open_clip.conversion import to_clip_model  # which builds on this module

        return to_clip_model(self.model, state, where, resized)

    def export(self, backbone: Backbone, folder: Path) -> None:
        """Write a folder that ``open_clip.create_model_and_transforms("local-dir:FOLDER")`` loads."""
        from tracer_lightning.models.open_clip.export import export_clip  # which builds on this module

        export_clip(backbone, folder)

    def export_to_transformers(self, backbone: Backbone, folder: Path) -> None:
        """Write a ``CLIPModel`` or ``SiglipModel``."""
        from tracer_lightning.models.open_clip.hugging_face_export import export_to_transformers  # which builds on this

        export_to_transformers(backbone, folder)

    def check_source(self, names: Collection[str], file: Path, where: str) -> None:
        """Raise ValueError where the configuration beside weights of ``transformers`` is of another model."""
        from tracer_lightning.models.open_clip.hugging_face_config import check_config  # which builds on this module

        if is_hugging_face(names):
            check_config(self, file, where)

    def loading_code(self, address: str) -> str:
        """The call of open_clip that loads an exported model."""
        return f'open_clip.create_model_and_transforms("{address}")'

    # -- training and sharding --------------------------------------------------------------------------------------

    def train_last(self, layers: int) -> None:
        """Freeze the layers of both towers but the last ones, as the released code's ``trainable_layers`` does.

        The layers are the blocks of a transformer and the four stages of a ResNet; all else stays as it is,
        embeddings, stem, projections and pooling included.

        Args:
            layers: how many of each tower to leave; 0 freezes both towers.
        """
        clip = self.model
        towers = (clip.visual, clip)
        frozen = [clip] if layers == 0 else [layer for tower in towers for layer in _layers(tower)[:-layers]]
        kept = {self.get_parameter(name) for name in self.replicated}  # of no tower
        for parameter in {parameter for module in frozen for parameter in module.parameters()} - kept:
            parameter.requires_grad_(False)

    def checkpoint_activations(self) -> None:
        """Recompute the blocks' activations in the backward pass instead of keeping them."""
        if isinstance(self.model.visual, ModifiedResNet):
            raise ValueError("gradient_checkpointing must be False: open_clip's ResNets don't support it")
        self.model.set_grad_checkpointing(True)

    def train_in_micro_batches(self, samples: int) -> None:
        """Keep activations of so many samples at a time; ValueError where BatchNorm would see parts of the batch."""
        if self.trains_batch_norm_statistics:
            raise ValueError(
                "micro_batch must be None for a model that trains BatchNorm, whose statistics would be those of a part "
                "of the batch; freeze BatchNorm, or set micro_batch to None"
            )
        self.micro_batch = samples

    def blocks(self) -> Iterator[nn.Module]:
        """The towers' transformer blocks."""
        return (module for module in self.modules() if isinstance(module, ResidualAttentionBlock | Block))


def transformer_blocks(tower: Any) -> list[Any] | None:
    """Blocks of a tower in order: of open_clip's transformers, or of timm's ViTs; None for other towers.

    Args:
        tower: image tower, or a model for its text tower.
    """
    if isinstance(trunk := getattr(tower, "trunk", None), VisionTransformer):
        return list(trunk.blocks)
    blocks = getattr(getattr(getattr(tower, "text", tower), "transformer", None), "resblocks", None)
    return None if blocks is None else list(blocks)


def _layers(tower: Any) -> list[nn.Module]:
    """Layers of a tower, in order."""
    if isinstance(tower, ModifiedResNet):
        return [tower.layer1, tower.layer2, tower.layer3, tower.layer4]
    blocks = transformer_blocks(tower)
    if blocks is None:
        raise ValueError(f"layers must be None: the layers of a {type(tower).__name__} are not known")
    return blocks
