"""Validated records of open_clip's model configurations, for configurations from untrusted files.

open_clip itself accepts any key and any name, including paths of tokenizer files and models that it would download.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

import open_clip
import timm
from pydantic import AfterValidator, Field, StringConstraints

from tracer_lightning.storage.records import StrictRecord

Size = Annotated[int, Field(ge=1, le=1 << 16)]
"""Size of a part of a model."""
Blocks = Annotated[int, Field(ge=1, le=256)]
Factor = Annotated[float, Field(gt=0, le=64)]
Share = Annotated[float, Field(ge=0, lt=1)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 24)]


@cache
def _text_models() -> frozenset[str]:
    """Return the names of the Hugging Face text models in open_clip's own configurations."""
    configs = (open_clip.get_model_config(name) or {} for name in open_clip.list_models())
    return frozenset(config.get("text_cfg", {}).get("hf_model_name", "") for config in configs) - {""}


def _check_timm_model(name: str) -> str:
    if name not in timm.list_models():
        raise ValueError(f"timm has no model {name}")
    return name


def _check_text_model(name: str) -> str:
    if name not in _text_models():
        raise ValueError(f"open_clip has no text tower of {name}")
    return name


TimmModel = Annotated[str, StringConstraints(pattern=r"^\w+$", max_length=100), AfterValidator(_check_timm_model)]
TextModel = Annotated[str, StringConstraints(max_length=100), AfterValidator(_check_text_model)]
Repository = Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")]
"""A repository on the Hugging Face hub: ``OWNER/NAME``, or ``NAME`` for the oldest ones."""


class NormOptions(StrictRecord):
    """Options of layer normalisation."""

    eps: Annotated[float, Field(gt=0, lt=1)]


class ActivationOptions(StrictRecord):
    """Options of the activation."""

    approximate: Literal["none", "tanh"]


class TokenizerOptions(StrictRecord):
    """Options of a tokenizer that name neither files nor code."""

    clean: Literal["lower", "whitespace", "canonicalize"] | None = None
    strip_sep_token: bool | None = None
    reduction_mask: Literal["", "simple", "random", "shuffle", "syntax"] | None = None


class TowerConfig(StrictRecord):
    """Common fields of image and text towers; None stands for open_clip's default."""

    width: Size | None = None
    mlp_ratio: Factor | None = None
    ls_init_value: float | None = None
    final_ln_after_pool: bool | None = None
    output_tokens: bool | None = None
    act_kwargs: ActivationOptions | None = None
    norm_kwargs: NormOptions | None = None
    block_type: Literal["default", "custom"] | None = None
    qk_norm: bool | None = None
    scaled_cosine_attn: bool | None = None
    scale_heads: bool | None = None
    scale_attn_inner: bool | None = None
    scale_attn: bool | None = None
    scale_fc: bool | None = None


class VisionTower(TowerConfig):
    """An image tower: ``vision_cfg`` in open_clip's configurations."""

    layers: Blocks | Annotated[list[Blocks], Field(min_length=4, max_length=4)] | None = None
    head_width: Size | None = None
    patch_size: Size | None = None
    image_size: Size | Annotated[list[Size], Field(min_length=2, max_length=2)] | None = None
    patch_dropout: Share | None = None
    attentional_pool: bool | Literal["parallel", "cascade"] | None = None
    attn_pooler_queries: Size | None = None
    attn_pooler_heads: Size | None = None
    no_ln_pre: bool | None = None
    pos_embed_type: Literal["learnable", "sin_cos_2d"] | None = None
    pool_type: Literal["tok", "avg", "none"] | None = None
    timm_model_name: TimmModel | None = None
    timm_model_pretrained: Literal[False] | None = None
    timm_pool: Literal["", "avg", "map", "token", "max", "avgmax", "abs_attn", "rot_attn"] | None = None
    timm_proj: Literal["", "none", "linear", "mlp"] | None = None
    timm_proj_bias: bool | None = None
    timm_drop: Share | None = None
    timm_drop_path: Share | None = None


class TextTower(TowerConfig):
    """A text tower: ``text_cfg`` in open_clip's configurations."""

    context_length: Size | None = None
    vocab_size: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
    hf_tokenizer_name: Repository | None = None
    tokenizer_mode: Literal["clips"] | None = None
    tokenizer_kwargs: TokenizerOptions | None = None
    heads: Size | None = None
    layers: Blocks | None = None
    embed_cls: bool | None = None
    pad_id: TokenId | None = None
    eos_id: TokenId | None = None
    no_causal_mask: bool | None = None
    pool_type: Literal["argmax", "eos", "first", "last", "none"] | None = None
    proj_bias: bool | None = None
    proj_type: Literal["linear", "none"] | None = None
    hf_model_name: TextModel | None = None
    hf_model_pretrained: Literal[False] | None = None
    hf_proj_type: Literal["linear", "mlp"] | None = None
    hf_pooler_type: Literal["mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler"] | None = None


class Decoder(TextTower):
    """The text decoder of a CoCa model."""

    dim_head: Size | None = None
    n_queries: Size | None = None
    attn_pooler_heads: Size | None = None


class Architecture(StrictRecord):
    """A complete model: ``model_cfg`` in open_clip's configurations."""

    embed_dim: Size
    vision_cfg: VisionTower
    text_cfg: TextTower
    multimodal_cfg: Decoder | None = None
    custom_text: bool | None = None
    quick_gelu: bool | None = None
    init_logit_scale: float | None = None
    init_logit_bias: float | None = None
    nonscalar_logit_scale: bool | None = None


class Preprocessing(StrictRecord):
    """Preprocessing of a model's images: ``preprocess_cfg`` in open_clip's configurations."""

    size: Size | Annotated[list[Size], Field(min_length=2, max_length=2)] | None = None
    mode: Literal["RGB"] | None = None
    mean: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)] | None = None
    interpolation: Literal["bicubic", "bilinear", "random"] | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None
    fill_color: Annotated[int, Field(ge=0, le=255)] | None = None


def explicit_settings(record: StrictRecord) -> dict[str, Any]:
    """Return the fields of a record that were set explicitly, as plain containers."""
    return record.model_dump(exclude_unset=True, by_alias=True)
