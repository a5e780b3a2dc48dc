import json

import huggingface_hub.constants
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from tracer_lightning.models import load_clip

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "width": 16, "layers": [1, 1, 1, 1]},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A hub that can't be reached, and an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_weights_that_can_not_be_downloaded_raise_errors_with_advice(offline):
    with pytest.raises(ValueError, match=r"pretrained 'openai': .*can't be downloaded.*Download https.*\.safetensors"):
        load_clip("ViT-B-32-quickgelu", "openai")
    with pytest.raises(
        ValueError, match=r"name 'hf-hub:timm/x': .*can't be downloaded.*open_clip_config\.json.*local-dir:"
    ):
        load_clip("hf-hub:timm/x")


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("NoSuchNet", None, "no such model"),
        ("ViT-B-32", "no_such_tag", "tags are openai, laion400m_e31"),
        ("ViT-B-32", "openai", "choose ViT-B-32-quickgelu"),
        ("local-dir:/no/where", None, "no folder /no/where"),
    ],
)
def test_missing_or_unfit_weights_raise_errors(name, pretrained, message):
    with pytest.raises(ValueError, match=message):
        load_clip(name, pretrained)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(1)
    model = open_clip.CLIP(**CONFIG)
    preprocessing = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": preprocessing}))
    return tmp_path, model


@pytest.mark.parametrize("tag", [None, "openai"])
def test_a_folder_has_its_own_weights_and_preprocessing(folder, tag):
    path, model = folder
    save_file(model.state_dict(), path / "open_clip_model.safetensors")
    backbone = load_clip(f"local-dir:{path}", tag)
    assert torch.equal(backbone.model.model.text_projection, model.text_projection)
    assert backbone.spec.mean == (0.1, 0.2, 0.3)
    assert (backbone.spec.image_size, backbone.spec.interpolation) == (32, "bilinear")
    assert backbone.spec.tokenize(["one"]).shape == (1, 16)


def test_a_model_of_the_hub_is_found_in_the_cache(folder, offline):
    path, model = folder
    repository = path / "cache/models--me--mine"
    snapshot = repository / "snapshots/0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("0123")
    (path / "open_clip_config.json").rename(snapshot / "open_clip_config.json")
    save_file(model.state_dict(), snapshot / "open_clip_model.safetensors")
    backbone = load_clip("hf-hub:me/mine")
    assert torch.equal(backbone.model.model.text_projection, model.text_projection)
    assert backbone.config["embed_dim"] == 16
    assert backbone.spec.std == (0.4, 0.5, 0.6)


def test_a_folder_without_weights_is_not_filled_with_random_ones(folder):
    with pytest.raises(ValueError, match="no such file, nor other weights in that folder"):
        load_clip(f"local-dir:{folder[0]}")


@pytest.mark.filterwarnings("ignore")
def test_local_files_are_loaded_or_raise_errors(tmp_path):
    torch.manual_seed(1)
    model = open_clip.create_model("ViT-S-32-alt")
    save_file(model.state_dict(), tmp_path / "good.safetensors")
    assert torch.equal(
        load_clip("ViT-S-32-alt", f"{tmp_path}/good.safetensors").model.model.ln_final.bias, model.ln_final.bias
    )
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="lacks positional_embedding"):
        load_clip("ViT-S-32-alt", f"{tmp_path}/other.pt")


def test_tags_take_precedence_over_local_folders(offline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai").mkdir()
    with pytest.raises(ValueError, match=r"pretrained 'openai': .*can't be downloaded"):
        load_clip("ViT-B-32-quickgelu", "openai")


def test_position_embeddings_of_another_image_size_are_interpolated_as_open_clip_does(tmp_path):
    config = {**CONFIG, "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    smaller = open_clip.CLIP(**{**config, "vision_cfg": {**config["vision_cfg"], "image_size": 24}})
    save_file(smaller.state_dict(), tmp_path / "open_clip_model.safetensors")
    expected = open_clip.create_model(f"local-dir:{tmp_path}").state_dict()
    for name, value in load_clip(f"local-dir:{tmp_path}").model.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    wider = open_clip.CLIP(**{**config, "vision_cfg": {**config["vision_cfg"], "width": 24}})
    save_file(wider.state_dict(), tmp_path / "open_clip_model.safetensors")
    with pytest.raises(ValueError, match=r"visual\.class_embedding has shape \(24,\), but \(16,\) in the backbone"):
        load_clip(f"local-dir:{tmp_path}")


def test_the_refusal_names_what_is_cached(offline, tmp_path):
    with pytest.raises(ValueError, match=r"None of open_clip's pretrained models is in the local cache$"):
        load_clip("ViT-B-32-quickgelu", "openai")
    snapshot = tmp_path / "cache/models--timm--vit_base_patch16_clip_224.openai"
    (snapshot / "snapshots/1").mkdir(parents=True)
    (snapshot / "snapshots/1/open_clip_model.safetensors").touch()
    (snapshot / "refs").mkdir()
    (snapshot / "refs/main").write_text("1")
    with pytest.raises(ValueError, match=r"In the local cache are, as NAME/PRETRAINED: .*ViT-B-16-quickgelu/openai"):
        load_clip("ViT-B-32-quickgelu", "openai")
