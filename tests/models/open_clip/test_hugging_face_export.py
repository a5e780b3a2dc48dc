"""Folders that the transformers library loads."""

import pytest
import torch
from open_clip.tokenizer import HFTokenizer, get_clean_fn
from PIL import Image

from tests.models.open_clip.siglip_models import randomise, siglip_backbone
from tests.models.open_clip.test_clip import TEXT, VISION
from tests.models.open_clip.test_hugging_face import backbone as clip_backbone
from tracer_lightning.models import build_clip, load_weights
from tracer_lightning.models.open_clip.hugging_face_tokenizer import check_tokenizer, save_tokenizer
from tracer_lightning.models.open_clip.tokenizers import load_tokenizer
from tracer_lightning.models.peft import add_lora

transformers = pytest.importorskip("transformers")
CAPTIONS = ["A photo of two dogs.", "the  Number_four, a dog!", "a"]


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
        ids = tokenizer(caption).input_ids
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


def test_tokens_beyond_those_of_the_tokenizer_change_no_feature(tmp_path):
    vision = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16}
    backbone = build_clip(16, vision, TEXT | {"vocab_size": 49472})
    texts = backbone.spec.tokenize(CAPTIONS)
    with torch.no_grad():
        expected = randomise(backbone.model).eval().encode_text(texts)
    backbone.model.export_to_transformers(backbone, tmp_path / "exported")
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "exported")
    _, actual = features(theirs, {"pixel_values": torch.zeros(1, 3, 32, 32), "input_ids": texts})
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)
    load_weights(randomise(backbone.model), tmp_path / "exported")


@pytest.mark.parametrize("clean", ["canonicalize", "lower", "whitespace"])
def test_the_tokenizer_of_a_class_with_its_own_normalizer_cleans_texts(tmp_path, clean):
    letters = [(letter, -6.0) for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,:;'?!&()"]
    special = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    vocabulary = [*special, ("\u2581", -4.0), ("\u2581dog", -2.0), *letters]
    transformers.T5TokenizerFast(vocab=vocabulary, extra_ids=0).save_pretrained(tmp_path / "t5")
    tokenizer = HFTokenizer(str(tmp_path / "t5"), context_length=32, clean=clean)
    save_tokenizer(tokenizer, tmp_path / "t5", 32)
    written = transformers.AutoTokenizer.from_pretrained(tmp_path / "t5")
    check_tokenizer(tokenizer, written, 32)
    texts = ["Dogs, and [one] dog_house!", "\u00c9t\u00e9\u00a0 2"]
    assert written(texts, padding="max_length", max_length=32).input_ids == tokenizer(texts).tolist()


@pytest.mark.parametrize("clean", ["canonicalize", "lower", "whitespace"])
@pytest.mark.parametrize("lowercase", [True, False])
def test_the_sentencepiece_tokenizer_of_siglip_is_written(tmp_path, clean, lowercase):
    sentencepiece = pytest.importorskip("sentencepiece")
    sentences = ["a photo of two dogs", "Two Dogs and one Cat", "the number 5"] * 5
    with (tmp_path / "spiece.model").open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            **{"sentence_iterator": iter(sentences), "model_writer": stream, "vocab_size": 40, "minloglevel": 2},
            **{"hard_vocab_limit": False, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
        )
    options = {"do_lower_case": lowercase, "model_max_length": 64}
    transformers.SiglipTokenizer(str(tmp_path / "spiece.model"), **options).save_pretrained(tmp_path / "theirs")
    text_cfg = {"context_length": 64, "hf_tokenizer_name": "some/where", "tokenizer_kwargs": {"clean": clean}}
    tokenizer = load_tokenizer("ViT-B-16-SigLIP", text_cfg, str(tmp_path / "theirs"))
    tokens = tokenizer(CAPTIONS)
    assert tokens.shape == (3, 64)
    assert tokens[:, -1].tolist() == [1] * 3  # pads with the end of texts
    (tmp_path / "written").mkdir()
    save_tokenizer(tokenizer, tmp_path / "written", 64)
    written = transformers.AutoTokenizer.from_pretrained(tmp_path / "written")
    check_tokenizer(tokenizer, written, 64)
    options = {"padding": "max_length", "max_length": 64}
    assert written("\u00c9t\u00e9, a_dog", **options).input_ids == tokenizer("\u00c9t\u00e9, a_dog")[0].tolist()


def test_the_tokenizer_of_siglip_2_is_written(tmp_path):
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789_.,:;'?!&()", "\u2581"]
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", *letters])}
    ends = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right", "model_max_length": 64}
    transformers.GemmaTokenizer(vocab=vocabulary, merges=[], **ends).save_pretrained(tmp_path / "theirs")
    text_cfg = {"context_length": 64, "hf_tokenizer_name": "some/where", "tokenizer_kwargs": {"clean": "canonicalize"}}
    tokenizer = load_tokenizer("ViT-B-16-SigLIP2", text_cfg, str(tmp_path / "theirs"))
    tokens = tokenizer(["A dog!"])[0].tolist()
    assert tokens == [*(vocabulary[letter] for letter in "a\u2581dog"), 1, *[0] * 58]
    (tmp_path / "written").mkdir()
    save_tokenizer(tokenizer, tmp_path / "written", 64)
    check_tokenizer(tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path / "written"), 64)


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


def test_a_tokenizer_with_other_tokens_raises_an_error(tmp_path):
    backbone = siglip_backbone(tmp_path)
    backbone.spec.tokenize.clean_fn = get_clean_fn("whitespace")
    backbone.spec.tokenize.save_pretrained(tmp_path)
    written = transformers.AutoTokenizer.from_pretrained(tmp_path)
    check_tokenizer(backbone.spec.tokenize, written, 16)
    backbone.spec.tokenize.clean_fn = get_clean_fn("canonicalize")
    with pytest.raises(ValueError, match=r"no tokenizer like the model's: 'A photo of the DOG\.' has the tokens 2, "):
        check_tokenizer(backbone.spec.tokenize, written, 16)


def test_features_that_differ_raise_an_error(tmp_path):
    """The tokenizer has no token that is always the highest of a text, which a CLIPModel could pool at."""
    backbone = clip_backbone()
    randomise(backbone.model)
    backbone = backbone._replace(spec=backbone.spec._replace(tokenize=siglip_backbone(tmp_path).spec.tokenize))
    with pytest.raises(ValueError, match=r"text features differ by 0\.\d+ between the transformers library"):
        backbone.model.export_to_transformers(backbone, tmp_path / "exported")


@pytest.mark.parametrize("option", [{"resize_mode": "longest"}, {"interpolation": "random"}])
def test_preprocessing_without_a_counterpart_raises_errors(tmp_path, option):
    backbone = clip_backbone()
    backbone = backbone._replace(spec=backbone.spec._replace(**option))
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"no image processor with {name}={value}; export in open_clip's format"):
        backbone.model.export_to_transformers(backbone, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
