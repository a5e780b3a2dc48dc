import open_clip
import pytest
import torch
import torch.nn.functional as F

from tests.conftest import tiny_backbone
from tests.models.open_clip.test_clip import TEXT, VISION
from tracer_lightning.functional.text import trim_tokens
from tracer_lightning.models import ClipModel, build_clip
from tracer_lightning.models.open_clip.activations import FEATURES, BlockOutputs, blocks

VIT = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16}


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return build_clip(16, VIT, TEXT)


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def texts(vit):
    return vit.spec.tokenize(["one", "a photo of the number two", "a drawing"])


def image_outputs(model, images, **options):
    with torch.no_grad():
        return BlockOutputs(model.eval(), "image", **options)(images)


def text_outputs(model, texts):
    with torch.no_grad():
        return BlockOutputs(model.eval(), "text")(texts)


def test_the_features_follow_from_the_last_blocks_class_token(vit, images):
    result = image_outputs(vit.model, images)
    assert list(result) == ["1", "2", FEATURES]
    assert result["1"].shape == (3, 32)
    visual = vit.model.model.visual
    features = F.normalize(visual.ln_post(result["2"]) @ visual.proj, dim=-1)
    torch.testing.assert_close(features, result[FEATURES])
    torch.testing.assert_close(result[FEATURES], vit.model.encode_image(images))
    assert not torch.allclose(result["1"], result["2"])


def test_the_features_follow_from_the_last_blocks_end_of_text_trimmed_or_not(vit, texts):
    clip, full = vit.model.model, text_outputs(vit.model, texts)
    assert list(full) == ["1", "2", FEATURES]
    for result in (full, text_outputs(vit.model, trim_tokens(texts))):
        torch.testing.assert_close(
            F.normalize(clip.ln_final(result["2"]) @ clip.text_projection, dim=-1), full[FEATURES]
        )
        torch.testing.assert_close(result["1"], full["1"])


def test_patches_are_averaged_without_the_class_token(vit, images):
    seen = []
    handle = vit.model.model.visual.transformer.resblocks[0].register_forward_hook(
        lambda *arguments: seen.append(arguments[2])
    )
    result = image_outputs(vit.model, images, tokens="patches")
    handle.remove()
    assert seen[0].shape == (3, 5, 32)
    torch.testing.assert_close(result["1"], seen[0][:, 1:].mean(dim=1))
    assert not torch.allclose(result["1"], image_outputs(vit.model, images)["1"])


def test_outputs_do_not_depend_on_batch_first(vit, images, texts):
    expected = image_outputs(vit.model, images), text_outputs(vit.model, texts)
    torch.manual_seed(0)
    variant = build_clip(16, VIT, TEXT).model
    for transformer in (variant.model.visual.transformer, variant.model.transformer):
        transformer.batch_first = False
        for block in transformer.resblocks:
            block.attn.batch_first = False
    result = image_outputs(variant, images), text_outputs(variant, texts)
    for outputs, expected_outputs in zip(expected, result, strict=True):
        for name in outputs:
            torch.testing.assert_close(outputs[name], expected_outputs[name])


def test_a_tower_that_pools_its_patches(vit, images):
    torch.manual_seed(0)
    variant = build_clip(16, {**VIT, "pool_type": "avg", "final_ln_after_pool": True}, TEXT).model
    result, visual = image_outputs(variant, images), variant.model.visual
    torch.testing.assert_close(F.normalize(visual.ln_post(result["2"]) @ visual.proj, dim=-1), result[FEATURES])


def test_blocks_of_a_resnet_are_averaged_over_the_image(images):
    torch.manual_seed(0)
    model = build_clip(16, {**VISION, "layers": [1, 2, 1, 1]}, TEXT).model
    result = image_outputs(model, images)
    assert list(result) == ["1.1", "2.1", "2.2", "3.1", "4.1", FEATURES]
    visual = model.model.visual
    with torch.no_grad():
        maps = visual.layer2(visual.layer1(visual.stem(images)))
    torch.testing.assert_close(result["2.2"], maps.mean(dim=(2, 3)))


def test_a_text_tower_of_its_own(texts, images):
    torch.manual_seed(0)
    model = ClipModel(open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=VIT, text_cfg=TEXT))
    result, text = text_outputs(model, texts), model.model.text
    torch.testing.assert_close(F.normalize(text.ln_final(result["2"]) @ text.text_projection, dim=-1), result[FEATURES])


def test_a_text_tower_with_a_class_token_behind_the_text(texts):
    torch.manual_seed(0)
    text_cfg = {**TEXT, "embed_cls": True}
    model = ClipModel(open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=VIT, text_cfg=text_cfg))
    result, text = text_outputs(model, texts), model.model.text
    torch.testing.assert_close(F.normalize(text.ln_final(result["2"]) @ text.text_projection, dim=-1), result[FEATURES])


def test_hooks_are_removed(vit, images):
    image_outputs(vit.model, images)
    with pytest.raises(RuntimeError):
        image_outputs(vit.model, images[:, :1])
    assert not any(module._forward_hooks for module in vit.model.modules())


def test_towers_whose_blocks_are_not_known_raise_errors():
    model = tiny_backbone().model
    model.model.visual = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="blocks of the image tower, a Linear, are unknown; use another tower"):
        blocks(model, "image")
    assert list(blocks(model, "text")) == ["1"]
