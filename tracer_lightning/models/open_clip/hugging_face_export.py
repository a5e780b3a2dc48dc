"""Export of models in the format of the ``transformers`` library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.transformer import VisionTransformer as ClipViT
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from tracer_lightning.models.model import Backbone
from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.open_clip.export import plain_clip, save_head, save_weights
from tracer_lightning.models.open_clip.hugging_face import to_transformers
from tracer_lightning.models.open_clip.hugging_face_config import CONFIG, tower_settings
from tracer_lightning.models.open_clip.hugging_face_tokenizer import (
    PROBES,
    check_tokenizer,
    save_tokenizer,
    write_json,
)
from tracer_lightning.types import InputSpec

WEIGHTS = "model.safetensors"
COMMON = dict.fromkeys(("width", "layers", "mlp_ratio", "act_kwargs", "norm_kwargs"))
TEXT = {**COMMON, **dict.fromkeys(("context_length", "vocab_size", "heads", "hf_tokenizer_name", "tokenizer_kwargs"))}
CLIP: dict[str, dict[str, Any]] = {
    "vision_cfg": {**COMMON, **dict.fromkeys(("image_size", "patch_size", "head_width"))},
    "text_cfg": TEXT,
}
SIGLIP: dict[str, dict[str, Any]] = {
    "vision_cfg": {"image_size": None, "timm_model_name": None, "timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True},
}
"""Options of the towers that ``transformers`` has as well, with the value that they must have where it isn't None."""
RESAMPLING = {"bilinear": 2, "bicubic": 3}
"""Pillow's numbers of interpolations."""
RESIZE_MODES = ("shortest", "squash")
"""Ways of resizing that image processors have."""
TOLERANCE = 1e-4
"""Largest difference of features between both libraries."""


def export_to_transformers(backbone: Backbone, folder: Path) -> None:
    """Write a ``CLIPModel`` or ``SiglipModel``, with tokenizer and image processor, for ``AutoModel.from_pretrained``.

    Args:
        backbone: model, whose low-rank updates are merged in place, with its input specification and configuration.
        folder: target folder, which is created if necessary; existing files of the same names are replaced.

    Raises:
        ValueError: the ``transformers`` library is missing, has no such model, or gives other tokens or features.
    """
    try:
        import transformers
    except ImportError as error:
        raise ValueError(
            f"{error.name} is not installed, with which the export is checked; the extra siglip has it (pip install "
            "transformers sentencepiece)"
        ) from error
    clip = plain_clip(backbone.model)
    is_siglip = backbone.model.logit_bias is not None
    _check_architecture(backbone, is_siglip)
    image_processor = _image_processor(backbone.spec)
    state = to_transformers(clip.state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(state, folder / WEIGHTS, {"format": "pt"})
    save_head(backbone.model, folder)
    config = (_siglip_config if is_siglip else _clip_config)(backbone, state)
    write_json(folder / CONFIG, config)
    write_json(folder / "preprocessor_config.json", image_processor)
    save_tokenizer(backbone.spec.tokenize, folder, backbone.model.context_length)
    _check_export(
        backbone, transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoModel.from_pretrained(folder)
    )


def _check_architecture(backbone: Backbone, is_siglip: bool) -> None:
    """Raise ValueError for the first option that ``CLIPModel`` or ``SiglipModel`` doesn't have."""
    visual, config = backbone.model.model.visual, backbone.config
    tower, expected = (getattr(visual, "trunk", visual), VisionTransformer) if is_siglip else (visual, ClipViT)
    if type(tower) is not expected:
        raise ValueError(
            f"the transformers library has no {'SigLIP' if is_siglip else 'CLIP'} model with open_clip's "
            f"{type(tower).__name__}; export in open_clip's format"
        )
    for key, options in (SIGLIP if is_siglip else CLIP).items():
        for name in sorted({*config[key], *options}):
            value, required = config[key].get(name), options.get(name)
            if (required is not None and value != required) or (name not in options and value not in (None, False)):
                option = f"{key}.{name}={value}"
                raise ValueError(f"the transformers library has no model with {option}; export in open_clip's format")


def _tower(model: ClipModel, tower: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings that both towers have."""
    prefix = f"{tower}_model.encoder.layers."
    intermediate, hidden = state[f"{prefix}0.mlp.fc1.weight"].shape
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": sum(name.endswith("mlp.fc1.weight") for name in state if name.startswith(prefix)),
        **tower_settings(model, tower)._asdict(),
    }


def _image_tower(model: ClipModel, state: Mapping[str, Tensor], image_size: int) -> dict[str, Any]:
    patches = state["vision_model.embeddings.patch_embedding.weight"]
    return {**_tower(model, "vision", state), "image_size": image_size, "patch_size": patches.shape[-1]}


def _text_tower(model: ClipModel, state: Mapping[str, Tensor]) -> dict[str, Any]:
    vocabulary = len(state["text_model.embeddings.token_embedding.weight"])
    return {
        **_tower(model, "text", state),
        "vocab_size": vocabulary,
        "max_position_embeddings": len(state["text_model.embeddings.position_embedding.weight"]),
    }


def _clip_config(backbone: Backbone, state: Mapping[str, Tensor]) -> dict[str, Any]:
    model = backbone.model
    width, text = model.text_projection.shape[1], _text_tower(model, state)
    tokens = backbone.spec.tokenize(["a photo"])[0]
    ends = {"bos_token_id": int(tokens[0]), "eos_token_id": int(tokens.max())}  # open_clip pools at the highest token
    image = _image_tower(model, state, backbone.spec.image_size)
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": width,
        "text_config": {"model_type": "clip_text_model", **text, **ends, "projection_dim": width},
        "vision_config": {"model_type": "clip_vision_model", **image, "projection_dim": width},
    }


def _siglip_config(backbone: Backbone, state: Mapping[str, Tensor]) -> dict[str, Any]:
    model, ends = backbone.model, {"bos_token_id": None, "eos_token_id": None}
    text = {**_text_tower(model, state), **ends, "projection_size": model.text_projection.shape[1]}
    image = _image_tower(model, state, backbone.spec.image_size)
    return {
        "architectures": ["SiglipModel"],
        "model_type": "siglip",
        "text_config": {"model_type": "siglip_text_model", **text},
        "vision_config": {"model_type": "siglip_vision_model", **image},
    }


def _image_processor(spec: InputSpec) -> dict[str, Any]:
    """Configuration of an image processor that prepares images as the data module does.

    Raises:
        ValueError: no image processor does so.
    """
    for option, known in (("resize_mode", RESIZE_MODES), ("interpolation", RESAMPLING)):
        if (value := getattr(spec, option)) not in known:
            raise ValueError(
                f"the transformers library has no image processor with {option}={value}; export in open_clip's format"
            )
    square = {"height": spec.image_size, "width": spec.image_size}
    is_squashed = spec.resize_mode == "squash"
    kind: dict[str, Any] = (
        {"image_processor_type": "SiglipImageProcessor", "size": square}
        if is_squashed
        else {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": spec.image_size}}
    )
    return {
        **kind,
        "do_resize": True,
        "resample": RESAMPLING[spec.interpolation],
        "do_center_crop": not is_squashed,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "do_convert_rgb": True,
    }


@torch.no_grad()
def _check_export(backbone: Backbone, tokenizer: Any, exported: Any) -> None:
    """Raise ValueError where what was written gives other tokens or features than the model.

    Args:
        backbone: the model.
        tokenizer: tokenizer of the ``transformers`` library.
        exported: model of that library.
    """
    spec, model = backbone.spec, backbone.model.eval()
    check_tokenizer(spec.tokenize, tokenizer, model.context_length)
    options = {"padding": "max_length", "truncation": True, "max_length": model.context_length, "return_tensors": "pt"}
    texts = tokenizer(list(PROBES), **options).input_ids
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, spec.image_size, spec.image_size, generator=generator)
    output = exported.eval()(input_ids=texts, pixel_values=images)
    for name, actual, expected in (
        ("text", output.text_embeds, model.encode_text(spec.tokenize(list(PROBES)))),
        ("image", output.image_embeds, model.encode_image(images)),
    ):
        difference = float((actual - expected).abs().max())
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{name} features differ by {difference:.2g} between the transformers library and open_clip, of at "
                f"most {TOLERANCE:g}; export in open_clip's format"
            )
