"""Weights of the transformers library's CLIPModel and SiglipModel."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.open_clip.siglip_models import CONFIG, randomise, siglip_backbone, write_tokenizer
from tracer_lightning.models import build_clip, load_clip, load_weights
from tracer_lightning.models.weights import read_weights

transformers = pytest.importorskip("transformers")

TEXT = {
    **{"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"max_position_embeddings": 16, "vocab_size": 49408},
}
VISION = {
    **{"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2},
    **{"image_size": 32, "patch_size": 8},
}


def clip_model(folder, **towers):
    """A CLIPModel of random weights, every one of which counts, and the folder that it was saved to."""
    config = transformers.CLIPConfig(
        text_config={**TEXT, **towers}, vision_config={**VISION, **towers}, projection_dim=24
    )
    model = randomise(transformers.CLIPModel(config)).eval()
    model.save_pretrained(folder)
    return model


def backbone(quick_gelu=True, **vision):
    vision = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "head_width": 16, **vision}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    return build_clip(24, vision, text, quick_gelu=quick_gelu)


@pytest.mark.parametrize(
    ("form", "activation"),
    [("folder", "quick_gelu"), ("safetensors", "gelu"), ("bin", "quick_gelu"), ("half", "gelu"), ("parts", "gelu")],
)
def test_features_are_those_of_the_transformers_library(tmp_path, form, activation):
    theirs = clip_model(tmp_path, hidden_act=activation)
    path = tmp_path if form in ("folder", "parts") else tmp_path / "model.safetensors"
    if form == "parts":
        (tmp_path / "model.safetensors").unlink()
        theirs.save_pretrained(tmp_path, max_shard_size="1MB")
        assert not (tmp_path / "model.safetensors").exists()
    if form == "half":
        theirs = theirs.half()
        save_file({name: value.half() for name, value in load_file(path).items()}, path)
    if form == "bin":
        positions = {f"{tower}_model.embeddings.position_ids": torch.arange(16)[None] for tower in ("text", "vision")}
        path = tmp_path / "pytorch_model.bin"
        torch.save(theirs.state_dict() | positions, path)
    ours = backbone(activation == "quick_gelu")
    load_weights(ours.model, path)
    assert ours.model.logit_scale.dtype == torch.float32
    images, texts = torch.randn(3, 3, 32, 32).double(), ours.spec.tokenize(["a dog", "two small cats", ""])
    with torch.no_grad():
        expected = theirs.double()(pixel_values=images, input_ids=texts)
        image, text = ours.model.double().eval().encode(images, texts)
    torch.testing.assert_close(image, expected.image_embeds, rtol=0, atol=1e-12)
    torch.testing.assert_close(text, expected.text_embeds, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.model.logit_scale, theirs.logit_scale.exp())


def siglip_model(folder, activation="gelu", naflex=False, **text_options):
    """A SiglipModel of random weights, or a Siglip2Model, and the folder that it was saved to."""
    towers = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": activation}
    text = {"hidden_size": 24, "intermediate_size": 96, "vocab_size": 64, "max_position_embeddings": 16}
    vision = {"hidden_size": 32, "intermediate_size": 128, "patch_size": 8}
    vision |= {"num_patches": 16} if naflex else {"image_size": 32}
    ends = {"projection_size": 32, "bos_token_id": None, "eos_token_id": None}
    kinds = (transformers.Siglip2Config, transformers.Siglip2Model)
    make_config, make_model = kinds if naflex else (transformers.SiglipConfig, transformers.SiglipModel)
    config = make_config(text_config={**text, **towers, **ends, **text_options}, vision_config={**vision, **towers})
    model = randomise(make_model(config)).eval()
    model.save_pretrained(folder)
    return model


SIGLIP_2 = {"act_kwargs": {"approximate": "tanh"}, "mlp_ratio": 3.7362}
"""Options of the text towers of open_clip's SigLIP 2 models."""


@pytest.mark.parametrize(
    ("text_cfg", "text_options"),
    [({}, {}), (SIGLIP_2, {"hidden_act": "gelu_pytorch_tanh", "intermediate_size": int(24 * 3.7362)})],
    ids=["siglip", "siglip 2"],
)
def test_features_of_siglip_are_those_of_the_transformers_library(tmp_path, text_cfg, text_options):
    theirs = siglip_model(tmp_path / "theirs", **text_options)
    config = {"model_cfg": {**CONFIG, "text_cfg": CONFIG["text_cfg"] | text_cfg}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    write_tokenizer(tmp_path)
    ours = load_clip(f"local-dir:{tmp_path}", load_weights=False)
    load_weights(ours.model, tmp_path / "theirs")
    images, texts = torch.randn(3, 3, 32, 32), ours.spec.tokenize(["a photo of the number two", "a dog", ""])
    ours.model.eval().export_to_transformers(ours, tmp_path / "exported")
    with torch.no_grad():
        image, text = ours.model.encode(images, texts)
        logits = ours.model.logit_scale * text @ image.T + ours.model.logit_bias
        for model in (theirs, transformers.AutoModel.from_pretrained(tmp_path / "exported").eval()):
            expected = model(pixel_values=images, input_ids=texts)
            torch.testing.assert_close(image, expected.image_embeds, rtol=0, atol=1e-5)
            torch.testing.assert_close(text, expected.text_embeds, rtol=0, atol=1e-5)
            torch.testing.assert_close(logits, expected.logits_per_text)


def test_siglip_2_for_images_of_any_size_is_refused(tmp_path):
    siglip_model(tmp_path / "theirs", naflex=True)
    with pytest.raises(ValueError, match=r"theirs/model.safetensors: these are weights .*\(NaFlex\), which"):
        load_weights(siglip_backbone(tmp_path).model, tmp_path / "theirs")


def test_a_folder_of_the_transformers_library_is_no_name(tmp_path):
    siglip_model(tmp_path)
    with pytest.raises(ValueError, match=r"has no open_clip_config\.json; .*, and pretrained to the folder"):
        load_clip(f"local-dir:{tmp_path}")


def test_the_slightly_different_activation_of_the_original_siglip_causes_a_warning(tmp_path):
    siglip_model(tmp_path / "theirs", "gelu_pytorch_tanh")
    with pytest.warns(UserWarning, match="hidden_act='gelu_pytorch_tanh', but the backbone has 'gelu', as in"):
        load_weights(siglip_backbone(tmp_path).model, tmp_path / "theirs")


def test_weights_of_siglip_and_clip_are_not_mistaken_for_each_other(tmp_path):
    siglip_model(tmp_path / "siglip")
    with pytest.raises(ValueError, match="has another architecture than the backbone"):
        load_weights(backbone().model, tmp_path / "siglip")
    clip_model(tmp_path / "clip")
    with pytest.raises(ValueError, match="lacks logit_bias, which SigLIP models have; choose a CLIP backbone"):
        load_weights(siglip_backbone(tmp_path).model, tmp_path / "clip")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_act": "gelu"}, "vision tower has hidden_act='gelu'"),
        ({"num_attention_heads": 4}, "vision tower has num_attention_heads=4"),
        ({"layer_norm_eps": 1e-3}, "vision tower has layer_norm_eps=0.001"),
        ({"eos_token_id": 7}, "its texts end with token 7"),
        ("[]", "is not the configuration of a CLIPModel"),
        ("{", "is not valid JSON"),
    ],
)
def test_settings_that_shapes_do_not_determine_are_checked(tmp_path, changed, message):
    clip_model(tmp_path)
    file = tmp_path / "config.json"
    if isinstance(changed, dict):
        config = json.loads(file.read_text())
        for tower in ("text_config", "vision_config"):
            config[tower] |= changed
        changed = json.dumps(config)
    file.write_text(changed)
    with pytest.raises(ValueError, match=message):
        load_weights(backbone().model, tmp_path)


def test_the_end_of_texts_of_older_configurations_is_the_highest_token(tmp_path):
    clip_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (tmp_path / "config.json").write_text(json.dumps(config))
    load_weights(backbone().model, tmp_path)


def test_a_model_without_memory_is_compared_with_a_configuration(tmp_path):
    clip_model(tmp_path)
    with torch.device("meta"):
        model = backbone().model
        assert read_weights(model, tmp_path).keys() == model.state_dict().keys()


def test_without_a_configuration_there_is_a_warning(tmp_path):
    clip_model(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.warns(UserWarning, match=r"no config\.json .* need a backbone whose name ends in -quickgelu"):
        load_weights(backbone().model, tmp_path)


def test_parts_of_a_model_raise_errors(tmp_path):
    model = clip_model(tmp_path)
    state = model.state_dict()
    key = "vision_model.encoder.layers.0.self_attn.k_proj.weight"
    for forged in ({name: value for name, value in state.items() if name != key}, state | {key: torch.zeros(3)}):
        torch.save(forged, tmp_path / "model.pt")
        with pytest.raises(ValueError, match=r"lacks vision_model\.encoder\.layers\.0\.self_attn\.k_proj\.weight"):
            load_weights(backbone().model, tmp_path / "model.pt")
    torch.save({name: value for name, value in state.items() if name.startswith("vis")}, tmp_path / "vision.pt")
    with pytest.raises(ValueError, match="contains no text tower"):
        load_weights(backbone().model, tmp_path / "vision.pt")
    with pytest.raises(ValueError, match=r"patches of 8 px, images of 32 px.* and 24 features"):
        load_weights(backbone(patch_size=16).model, tmp_path / "model.safetensors")
