"""Building, loading and exporting models that answer questions."""

import json
import subprocess
import sys
import time

import pytest
import torch

from tests.answering import batch_of, tiny_llava
from tracer_lightning.models import load_pretrained


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model and the folder that it was exported to."""
    backbone, folder = tiny_llava(), tmp_path_factory.mktemp("exported")
    backbone.model.export(backbone, folder)
    return backbone, folder


def test_an_exported_model_is_loaded_again(exported):
    backbone, folder = exported
    loaded = load_pretrained(str(folder))
    assert (folder / "model.safetensors").is_file()
    assert not list(folder.glob("*.bin"))
    assert loaded.spec.context_length == 64
    assert loaded.model.training
    for name, value in backbone.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    ours, theirs = batch_of(backbone), batch_of(loaded)
    assert torch.equal(ours.targets, theirs.targets)
    for name, value in ours.inputs.items():
        assert torch.equal(theirs.inputs[name], value)


def test_the_architecture_is_built_without_weights(exported):
    with torch.device("meta"):
        model = load_pretrained(str(exported[1]), load_weights=False).model
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_dtype(exported):
    model = load_pretrained(str(exported[1]), dtype="bfloat16").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_pickles_are_not_loaded(exported, tmp_path):
    for file in exported[1].iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(exported[0].model.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=f"name={tmp_path}: the model can't be loaded"):
        load_pretrained(str(tmp_path))


def test_a_model_without_images_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 32}))
    with pytest.raises(ValueError, match="a llama model takes no images"):
        load_pretrained(str(tmp_path))


def test_a_processor_without_chat_template_needs_a_file(exported, tmp_path):
    backbone, exported_folder = exported
    folder, template = tmp_path / "model", tmp_path / "template.jinja"
    folder.mkdir()
    for file in exported_folder.iterdir():
        if "template" not in file.name:
            (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=r"its processor has no chat template; .*, or set chat_template to a file"):
        load_pretrained(str(folder))
    template.write_text(backbone.spec.processor.chat_template)
    loaded = load_pretrained(str(folder), chat_template=str(template))
    assert torch.equal(batch_of(loaded).targets, batch_of(backbone).targets)


def test_a_chat_template_replaces_that_of_the_processor(exported, tmp_path):
    (tmp_path / "template.jinja").write_text(exported[0].spec.processor.chat_template.replace("<answer>", "is"))
    loaded = load_pretrained(str(exported[1]), chat_template=str(tmp_path / "template.jinja"))
    assert loaded.spec.processor.tokenizer.decode(batch_of(loaded).inputs["input_ids"][0]).count("is") == 2
    (tmp_path / "empty.jinja").touch()
    for name in ("missing.jinja", "empty.jinja"):
        with pytest.raises(ValueError, match=rf"chat_template=.*{name} must be a text file with a template"):
            load_pretrained(str(exported[1]), chat_template=str(tmp_path / name))


@pytest.mark.parametrize("load_weights", [True, False])
def test_answers_end_with_each_end_that_the_files_name(exported, tmp_path, load_weights):
    for file in exported[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [7, 2]}))
    loaded = load_pretrained(str(tmp_path), load_weights=load_weights)
    assert loaded.spec.ends == (2, 7)  # the tokenizer's first: it ends answers to which a template gives no end
    assert loaded.model.model.generation_config.eos_token_id == [2, 7]


def test_a_tokenizer_without_padding_pads_with_the_end_and_says_so(exported, tmp_path):
    for file in exported[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": None}))
    with pytest.warns(UserWarning, match="the tokenizer of LlavaProcessor has no padding token; <eos>, which ends an"):
        spec = load_pretrained(str(tmp_path)).spec
    assert spec.processor.tokenizer.pad_token == "<eos>"


def test_images_of_any_size_are_cropped_to_squares():
    processor = tiny_llava().spec.processor
    images = [torch.full((3, height, width), 255, dtype=torch.uint8) for height, width in ((16, 16), (40, 20), (9, 30))]
    pixels = processor(images=[[image] for image in images], text=["<image>"] * 3, return_tensors="pt")["pixel_values"]
    assert pixels.shape == (3, 3, 16, 16)
    assert (pixels == 1).all()


def test_an_unreachable_hub_fails_at_once(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://localhost:1")
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"name=nobody/nothing: .* offline .* set name to that folder") as error:
        load_pretrained("nobody/nothing")
    assert time.perf_counter() - start < 5
    assert "\n" not in str(error.value)


def test_patches_must_fill_the_image():
    from tracer_lightning.models import build_llava

    sizes = {"width": 16, "layers": 1, "heads": 2}
    with pytest.raises(ValueError, match=r"image_size=30 must be a multiple of patch_size=8"):
        build_llava({"image_size": 30, "patch_size": 8, **sizes}, {"context_length": 8, **sizes}, ["a"])


@pytest.mark.slow
def test_the_package_works_without_transformers():
    code = (
        "import sys, tracer_lightning.data, tracer_lightning.evaluation, tracer_lightning.losses\n"
        "from tracer_lightning.models import load_pretrained\n"
        "sys.modules['transformers'] = None\n"
        "try: load_pretrained('x')\n"
        "except ValueError as error: print(error)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output == "models that answer questions need transformers: pip install 'tracer-lightning[mllm]'\n"
