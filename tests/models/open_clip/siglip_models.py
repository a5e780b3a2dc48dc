"""Small SigLIP models of timm's, open_clip's and transformers' classes."""

import json

import open_clip
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from tokenizers import Tokenizer, models, pre_tokenizers

from tracer_lightning.models import load_clip

NAME = "vit_small_siglip_of_tests"
CONFIG = {
    "embed_dim": 32,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "timm_model_name": NAME, "timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {
        **{"context_length": 16, "vocab_size": 64, "width": 24, "heads": 2, "layers": 2},
        **{"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}},
        **{"hf_tokenizer_name": "somewhere/else", "tokenizer_kwargs": {"clean": "canonicalize"}},
    },
}
"""A configuration like those of open_clip's SigLIP models."""


def vit_small_siglip_of_tests(num_classes=1000, global_pool="map", **options):
    """SigLIP's ViT with few and small blocks."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    return VisionTransformer(**sizes, class_token=False, num_classes=num_classes, global_pool=global_pool)


if NAME not in timm.list_models():
    timm.models.register_model(vit_small_siglip_of_tests)
WORDS = [
    *("<pad>", "</s>", "<unk>", "a", "photo", "of", "the", "number", "dog", "small"),
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
]


def write_tokenizer(folder):
    """Write a tokenizer of few words that pads like SigLIP's."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens).save_pretrained(folder)


def randomise(model):
    """Draw all weights, so that every one counts."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.5, 0.2) if parameter.ndim < 2 else torch.nn.init.normal_(parameter, 0, 0.2)
    return model


def write_open_clip(folder):
    """Write a SigLIP model in open_clip's format, and return it."""
    from safetensors.torch import save_file

    model = randomise(open_clip.CustomTextCLIP(**open_clip_arguments())).eval()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    write_tokenizer(folder)
    return model


def open_clip_arguments():
    """Arguments of ``CustomTextCLIP``."""
    return {name: value for name, value in CONFIG.items() if name != "custom_text"}


def siglip_backbone(folder):
    """The backbone of a SigLIP model that is written to a folder."""
    write_open_clip(folder)
    return load_clip(f"local-dir:{folder}")
