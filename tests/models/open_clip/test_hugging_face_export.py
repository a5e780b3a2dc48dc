"""Folders that the transformers library loads."""

import pytest
import torch
from PIL import Image

from tests.models.open_clip.siglip_models import randomise, siglip_backbone
from tests.models.open_clip.test_clip import TEXT, VISION
from tests.models.open_clip.test_hugging_face import backbone as clip_backbone
from tracer_lightning.models import build_clip, load_weights
from tracer_lightning.models.peft import add_lora

transformers = pytest.importorskip("transformers")
CAPTIONS = ["A photo of two dogs.", "the number four", "a"]


@pytest.fixture(params=["clip", "quick_gelu", "siglip"])
def backbone(request, tmp_path):
    if request.param == "siglip":
        return siglip_backbone(tmp_path)
    backbone = clip_backbone(request.param == "quick_gelu")
    randomise(backbone.model)
    return backbone


def features(model, inputs):
    """Features of the transformers library."""
    with torch.no_grad():
        output = model.eval()(**inputs)
    return output.image_embeds, output.text_embeds


def test_the_exported_model_computes_the_same_features(tmp_path, backbone):
    folder, model = tmp_path / "exported", backbone.model.eval()
    model.export_to_transformers(backbone, folder)
    theirs, info = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    images, texts = torch.randn(3, 3, 32, 32), backbone.spec.tokenize(CAPTIONS)
    with torch.no_grad():
        expected = model.encode(images, texts)
    for ours, exported in zip(expected, features(theirs, {"pixel_values": images, "input_ids": texts}), strict=True):
        torch.testing.assert_close(exported, ours, rtol=0, atol=1e-5)
    torch.testing.assert_close(theirs.logit_scale.exp().reshape(()), model.logit_scale)
    if model.logit_bias is not None:
        assert torch.equal(theirs.logit_bias.reshape(()), model.logit_bias)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    randomise(model).logit_scale.detach().zero_()
    load_weights(model, folder)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_tokenizer_and_image_processor_prepare_the_same_inputs(tmp_path, backbone):
    backbone.model.export_to_transformers(backbone, tmp_path / "exported")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "exported")
    for caption, tokens in zip(CAPTIONS, backbone.spec.tokenize(CAPTIONS).tolist(), strict=True):
        ids = tokenizer(backbone.spec.tokenize.clean_fn(caption)).input_ids
        assert tokens[: len(ids)] == ids
        assert not any(tokens[len(ids) :])
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "exported")
    pixels = processor(Image.new("RGB", (50, 40), (255, 0, 51)), return_tensors="pt")["pixel_values"]
    expected = (torch.tensor([1.0, 0.0, 0.2]) - torch.tensor(backbone.spec.mean)) / torch.tensor(backbone.spec.std)
    torch.testing.assert_close(pixels, expected[None, :, None, None].expand(1, 3, 32, 32), rtol=0, atol=1e-5)


def test_low_rank_updates_are_merged(tmp_path):
    backbone = siglip_backbone(tmp_path)
    add_lora(backbone.model, rank=2, scale=0.5)
    randomise(backbone.model)
    images, texts = torch.randn(3, 3, 32, 32), backbone.spec.tokenize(CAPTIONS)
    with torch.no_grad():
        expected = backbone.model.eval().encode(images, texts)
    backbone.model.export_to_transformers(backbone, tmp_path / "exported")
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "exported")
    for ours, exported in zip(expected, features(theirs, {"pixel_values": images, "input_ids": texts}), strict=True):
        torch.testing.assert_close(exported, ours, rtol=0, atol=1e-5)


VIT = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build_clip(16, VISION, TEXT), "no CLIP model with open_clip's ModifiedResNet"),
        (lambda: build_clip(16, VIT, TEXT, init_logit_bias=-2.0), "no SigLIP model with open_clip's VisionTransformer"),
        (lambda: build_clip(16, VIT | {"pool_type": "avg"}, TEXT), r"no model with vision_cfg\.pool_type=avg"),
        (lambda: build_clip(16, VIT, TEXT | {"no_causal_mask": True}), r"with text_cfg\.no_causal_mask=True"),
    ],
)
def test_models_that_the_library_lacks_raise_errors(tmp_path, make, message):
    backbone = make()
    with pytest.raises(ValueError, match=f"{message}.*; export in open_clip's format"):
        backbone.model.export_to_transformers(backbone, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_weights_without_a_counterpart_raise_errors(tmp_path):
    backbone = siglip_backbone(tmp_path)
    backbone.model.model.visual.trunk.reg_token = torch.nn.Parameter(torch.zeros(1, 1, 32))
    with pytest.raises(ValueError, match=r"visual\.trunk\.reg_token has no counterpart in the transformers library"):
        backbone.model.export_to_transformers(backbone, tmp_path / "exported")
