"""Conversion of weights of CLIP and SigLIP models between the ``transformers`` library and open_clip."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from tracer_lightning.models.fitting import BIAS, SCALE

TOWERS = ("vision_model.", "text_model.")


class Names(NamedTuple):
    """Names of a tower's weights in open_clip by their names in ``transformers``, or parts of both."""

    parts: dict[str, str]
    fused: str
    """Beginning of the names of the fused queries, keys and values within a block."""


OPEN_CLIP_BLOCK = {
    ".self_attn.out_proj.": ".attn.out_proj.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
}
CLIP_IMAGE = Names(
    {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "vision_model.pre_layrnorm.": "visual.ln_pre.",
        "vision_model.post_layernorm.": "visual.ln_post.",
        "vision_model.encoder.layers.": "visual.transformer.resblocks.",
        "visual_projection.weight": "visual.proj",
        **OPEN_CLIP_BLOCK,
    },
    "attn.in_proj_",
)
SIGLIP_IMAGE = Names(
    {
        "vision_model.embeddings.patch_embedding.": "visual.trunk.patch_embed.proj.",
        "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
        "vision_model.post_layernorm.": "visual.trunk.norm.",
        "vision_model.encoder.layers.": "visual.trunk.blocks.",
        "vision_model.head.probe": "visual.trunk.attn_pool.latent",
        "vision_model.head.attention.out_proj.": "visual.trunk.attn_pool.proj.",
        "vision_model.head.layernorm.": "visual.trunk.attn_pool.norm.",
        "vision_model.head.mlp.": "visual.trunk.attn_pool.mlp.",
        ".self_attn.out_proj.": ".attn.proj.",
        ".layer_norm1.": ".norm1.",
        ".layer_norm2.": ".norm2.",
    },
    "attn.qkv.",
)
CLIP_TEXT = Names(
    {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.": "ln_final.",
        "text_model.encoder.layers.": "transformer.resblocks.",
        "text_projection.weight": "text_projection",
        **OPEN_CLIP_BLOCK,
    },
    "attn.in_proj_",
)
SIGLIP_TEXT = Names(
    {
        "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
        "text_model.final_layer_norm.": "text.ln_final.",
        "text_model.encoder.layers.": "text.transformer.resblocks.",
        "text_model.head.": "text.text_projection.",
        **OPEN_CLIP_BLOCK,
    },
    "attn.in_proj_",
)
TRANSPOSED = ("visual_projection.weight", "text_projection.weight")
"""Names in ``transformers`` of weights that open_clip stores transposed."""
ATTENTION = re.compile(r"(.*\.)self_attn\.([qkv])_proj\.(weight|bias)")
"""Pattern of the names of queries, keys and values, which open_clip and timm store as one tensor."""
POOLING = re.compile(r"vision_model\.head\.attention\.in_proj_(weight|bias)")
"""Pattern of the names of SigLIP's pooling queries, keys and values, which timm stores as two tensors."""
POOLING_QUERY = "visual.trunk.attn_pool.q."
POOLING_REST = "visual.trunk.attn_pool.kv."
PATCHES = "vision_model.embeddings.patch_embedding.weight"
"""Name of the weight of patches: (width, 3, P, P), or (width, 3 P²) where images may have any size."""
POSITIONS = "vision_model.embeddings.position_embedding.weight"
"""Name of the position embeddings of images (N, width), to which timm adds an axis."""
CONVERTIBLE = re.compile(
    r"(vision|text)_model\.(encoder\.layers\.\d+\.(layer_norm[12]|self_attn\.([qkv]|out)_proj|mlp\.fc[12])\.(weight|bias)"
    r"|embeddings\.(class_embedding|(patch|position|token)_embedding\.(weight|bias))"
    r"|(pre_layrnorm|post_layernorm|final_layer_norm)\.(weight|bias)"
    r"|head\.(probe|(layernorm|mlp\.fc[12]|attention\.out_proj)\.(weight|bias)|attention\.in_proj_(weight|bias)|weight|bias))"
    r"|(visual|text)_projection\.weight|logit_(scale|bias)"
)
"""Pattern of the names of all weights of ``CLIPModel`` and ``SiglipModel``."""


def is_hugging_face(names: Iterable[str]) -> bool:
    """Whether names of weights are those of the ``transformers`` library."""
    return any(name.startswith(TOWERS) for name in names)


def to_open_clip(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Convert weights to open_clip's names and shapes.

    Args:
        state: weights of a ``CLIPModel`` or ``SiglipModel`` of the ``transformers`` library.
        where: name of the file, for errors.

    Raises:
        ValueError: an attention lacks queries, keys or values, or the model is one of images of any size.
    """
    if PATCHES in state and state[PATCHES].ndim == 2:
        raise ValueError(
            f"{where}: these are weights of SigLIP 2 for images of any size (NaFlex), which open_clip lacks; use those "
            "of a model with a fixed image size, such as google/siglip2-base-patch16-224"
        )
    return dict(_convert(state, where))


def _convert(state: Mapping[str, Tensor], where: str) -> Iterator[tuple[str, Tensor]]:
    image, text = (SIGLIP_IMAGE, SIGLIP_TEXT) if BIAS in state else (CLIP_IMAGE, CLIP_TEXT)
    for name, value in state.items():
        names = text if name.startswith("text_") else image
        if attention := ATTENTION.fullmatch(name):
            if attention[2] == "q":
                joined = torch.cat(_queries_keys_values(state, name, attention, where))
                yield f"{_replace(attention[1], names.parts)}{names.fused}{attention[3]}", joined
        elif (pooling := POOLING.fullmatch(name)) and value.ndim:
            width = len(value) // 3
            yield POOLING_QUERY + pooling[1], value[:width]
            yield POOLING_REST + pooling[1], value[width:]
        elif image is SIGLIP_IMAGE and name == POSITIONS:
            yield image.parts[name], value[None]
        else:
            yield _replace(name, names.parts), value.T if name in TRANSPOSED and value.ndim == 2 else value


def _queries_keys_values(state: Mapping[str, Tensor], name: str, attention: re.Match[str], where: str) -> list[Tensor]:
    """Tensors of queries, keys and values by the name of the queries."""
    value, parts = state[name], [f"{attention[1]}self_attn.{part}_proj.{attention[3]}" for part in "qkv"]
    for part in parts:
        if part not in state or state[part].shape != value.shape or value.ndim == 0:
            raise ValueError(f"{where}: lacks {part}, or it has another shape than {name}; use a complete model")
    return [state[part] for part in parts]


def _replace(name: str, parts: Mapping[str, str]) -> str:
    """Replace parts of a name, or a whole name."""
    if name in parts:
        return parts[name]
    for part, new in parts.items():
        if part.endswith("."):
            name = name.replace(part, new)
    return name


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights to the names and shapes of ``transformers``, the inverse of :func:`to_open_clip`.

    Args:
        state: weights of an open_clip model whose image tower is open_clip's ViT or, of SigLIP models, timm's.

    Raises:
        ValueError: a weight has no counterpart in ``CLIPModel`` and ``SiglipModel``.
    """
    converted = {}
    for name, value in state.items():
        for new, part in _convert_back(name, value, state):
            if not CONVERTIBLE.fullmatch(new):
                raise ValueError(f"{name} has no counterpart in the transformers library; export in open_clip's format")
            converted[new] = part.contiguous()
    return converted


def _convert_back(name: str, value: Tensor, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    is_siglip = BIAS in state
    if name.startswith("visual."):
        names = SIGLIP_IMAGE if is_siglip else CLIP_IMAGE
    else:
        names = SIGLIP_TEXT if is_siglip else CLIP_TEXT
        name = name if is_siglip else name.removeprefix("text.")
    back = {ours: theirs for theirs, ours in names.parts.items()}
    prefix, fused, kind = name.rpartition(names.fused)
    if fused:
        for part, tensor in zip("qkv", value.chunk(3), strict=True):
            yield f"{_replace(prefix, back)}self_attn.{part}_proj.{kind}", tensor
    elif name.startswith(POOLING_QUERY):
        kind = name.removeprefix(POOLING_QUERY)
        yield f"vision_model.head.attention.in_proj_{kind}", torch.cat([value, state[POOLING_REST + kind]])
    elif name in (SCALE, BIAS):
        yield name, value.reshape(1) if is_siglip else value.reshape(())
    elif not name.startswith(POOLING_REST):
        new = _replace(name, back)
        if is_siglip and new == POSITIONS:
            value = value[0]
        yield new, value.T if new in TRANSPOSED else value
