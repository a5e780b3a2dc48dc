"""Tokenizers and preprocessing of SigLIP models."""

import json
import re
import sys

import huggingface_hub.constants
import open_clip
import pytest
import torch

from tests.models.open_clip.siglip_models import WORDS, siglip_backbone, write_tokenizer
from tracer_lightning.models import load_clip
from tracer_lightning.models.open_clip.pretrained import model_config
from tracer_lightning.models.open_clip.tokenizers import load_tokenizer

TEXT = {"context_length": 8, "hf_tokenizer_name": "somewhere/else", "tokenizer_kwargs": {"clean": "canonicalize"}}


def test_the_tokenizer_beside_weights_is_used(tmp_path):
    write_tokenizer(tmp_path)
    tokens = load_tokenizer("ViT-B-16-SigLIP", TEXT, str(tmp_path))(["A small dog!"])
    assert tokens.tolist() == [[*map(WORDS.index, ("a", "small", "dog")), *[0] * 5]]


def test_an_exported_folder_has_its_tokenizer(tmp_path):
    first = siglip_backbone(tmp_path)
    first.model.export(first, tmp_path / "exported")
    second = load_clip(f"local-dir:{tmp_path / 'exported'}")
    assert second.spec.tokenize(["a dog"]).tolist() == first.spec.tokenize(["a dog"]).tolist()


def test_a_tokenizer_that_can_not_be_downloaded_raises_an_error_with_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"name 'ViT-B-16-SigLIP': its tokenizer can't be downloaded.*local-dir:"):
        load_clip("ViT-B-16-SigLIP")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = "its tokenizer needs transformers: pip install 'tracer-lightning[siglip]'"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_clip("ViT-B-16-SigLIP")


def test_a_broken_tokenizer_raises_an_error(tmp_path):
    siglip_backbone(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="its tokenizer can't be read"):
        load_clip(f"local-dir:{tmp_path}")


def test_weights_of_an_architecture_have_its_published_preprocessing(tmp_path):
    """Whatever they are loaded from."""
    write_tokenizer(tmp_path)
    with torch.device("meta"):
        spec = load_clip("ViT-B-16-SigLIP", str(tmp_path), load_weights=False).spec
    assert (spec.mean, spec.std, spec.resize_mode) == ((0.5,) * 3, (0.5,) * 3, "squash")


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        pytest.param("ViT-B-32-SigLIP2-256", 256, marks=pytest.mark.slow),
        pytest.param("ViT-SO400M-14-SigLIP2-378", 378, marks=pytest.mark.exhaustive),
        pytest.param("ViT-gopt-16-SigLIP2-384", 384, marks=pytest.mark.exhaustive),
    ],
)
def test_architectures_of_siglip_2_are_known(tmp_path, name, image_size):
    write_tokenizer(tmp_path)
    with torch.device("meta"):
        backbone = load_clip(name, str(tmp_path), load_weights=False)
    assert (backbone.spec.image_size, backbone.spec.resize_mode) == (image_size, "squash")
    assert backbone.model.logit_bias is not None
    assert backbone.model.context_length == 64


@pytest.mark.parametrize("name", [name for name in open_clip.list_models() if "SigLIP" in name])
def test_exported_configurations_of_siglip_are_read(tmp_path, name):
    config = open_clip.get_model_config(name)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    assert model_config(f"local-dir:{tmp_path}") == config
