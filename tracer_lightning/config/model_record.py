"""Records of a checkpoint's model, and of the parameters that were trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tracer_lightning.models.open_clip.architecture import Size, TextTower, VisionTower
from tracer_lightning.storage.records import Name, StrictRecord, Text

Number = Annotated[int, Field(ge=-(1 << 32), le=1 << 32)]
Channels = Annotated[list[Annotated[float, Field(ge=-1e3, le=1e3)]], Field(min_length=3, max_length=3)]
Towers = list[Literal["image", "text"]]
Pattern = Annotated[str, StringConstraints(max_length=100, pattern=r"^[\w.*]+$")]
Model = Annotated[
    str, StringConstraints(max_length=1000, pattern=r"^[\w.-]+$|^hf-hub:[\w./@-]+$|^local-dir:[^\x00-\x1f$]+$")
]
Pixels = Annotated[int, Field(ge=1, le=1 << 32)]


class Target(StrictRecord):
    """A record with the class or function that makes an object, which must be one of this package."""

    target: str = Field(alias="_target_")


class BuiltClip(Target):
    """A CLIP of its own architecture."""

    target: Literal["tracer_lightning.models.build_clip"] = Field(alias="_target_")
    embed_dim: Size
    vision_cfg: VisionTower
    text_cfg: TextTower
    mean: Channels | None = None
    std: Channels | None = None
    quick_gelu: bool | None = None
    init_logit_scale: Annotated[float, Field(ge=-1e2, le=1e2)] | None = None
    init_logit_bias: Annotated[float, Field(ge=-1e3, le=1e3)] | None = None


class LoadedClip(Target):
    """A model that open_clip loads by name, from the hub, or from an exported folder."""

    target: Literal["tracer_lightning.models.load_clip"] = Field(alias="_target_")
    name: Model
    pretrained: Text | None = None


class LlavaTower(StrictRecord):
    """Sizes of the image tower of a small LLaVA."""

    image_size: Size
    patch_size: Size
    width: Size
    layers: Size
    heads: Size


class LlavaText(StrictRecord):
    """Sizes of the text model of a small LLaVA."""

    context_length: Size
    width: Size
    layers: Size
    heads: Size


class BuiltLlava(Target):
    """A small LLaVA of its own architecture."""

    target: Literal["tracer_lightning.models.build_llava"] = Field(alias="_target_")
    vision_cfg: LlavaTower
    text_cfg: LlavaText
    words: Annotated[list[Text], Field(max_length=1 << 16)]
    max_pixels: Pixels | None = None


class LoadedAnsweringModel(Target):
    """A model that ``transformers`` loads from the hub or a folder, never with code of its own."""

    target: Literal["tracer_lightning.models.load_pretrained"] = Field(alias="_target_")
    name: Text
    revision: Text | None = None
    dtype: Literal["float32", "bfloat16", "float16"]
    attention: Name
    trust_remote_code: Literal[False]
    parts: dict[Literal["image", "connector"], list[Name]] | None = None
    chat_template: Text | None = None
    max_pixels: Pixels | None = None


class ConvolutionEmbedder(Target):
    """An embedder of another modality than images."""

    target: Literal[
        "tracer_lightning.models.open_clip.embedders.conv1d", "tracer_lightning.models.open_clip.embedders.conv2d"
    ] = Field(alias="_target_")
    shape: Annotated[list[Size], Field(min_length=2, max_length=3)]
    max_tokens: Size | None


class Full(Target):
    """Everything is trained."""

    target: Literal["tracer_lightning.models.peft.full"] = Field(alias="_target_")


class TrainOnly(Target):
    """Some parameters of each block are trained."""

    target: Literal["tracer_lightning.models.peft.train_only"] = Field(alias="_target_")
    patterns: list[Pattern]
    towers: Towers | None = None
    blocks: list[Number] | None = None


class Lora(Target):
    """Low-rank updates are trained."""

    target: Literal["tracer_lightning.models.peft.add_lora"] = Field(alias="_target_")
    rank: Size
    scale: float
    towers: Towers | None = None
    blocks: list[Number] | None = None


class Adapters(Target):
    """Bottlenecks on the features are trained."""

    target: Literal["tracer_lightning.models.peft.add_adapters"] = Field(alias="_target_")
    reduction: Size
    ratio: float
    towers: Towers | None = None


class LoraOfAllLayers(Target):
    """Low-rank updates of all linear layers of a text model are trained."""

    target: Literal["tracer_lightning.models.answering.lora.add_lora"] = Field(alias="_target_")
    rank: Size
    alpha: Size


class Peft(StrictRecord):
    """The group ``peft``."""

    name: Name
    prepare: Annotated[Full | TrainOnly | Lora | LoraOfAllLayers | Adapters, Field(discriminator="target")]
